"""What objects use of a ResourceQuota: one file for each kind that uses more than its number. Pure; Kubernetes' evaluators."""

"""The audit log: what of which requests is kept, by Kubernetes' policy file, and where it is written."""

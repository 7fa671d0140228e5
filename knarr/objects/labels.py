"""Labels of Kubernetes that several components read or write."""

from __future__ import annotations

# Of nodes.
HOSTNAME = "kubernetes.io/hostname"
ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
# What these two were called first.
BETA_ZONE, BETA_REGION = "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"
# One that no load balancer leads to.
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
# Of EndpointSlices: the Service they belong to, and who keeps them.
SERVICE_NAME = "kubernetes.io/service-name"
SLICE_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"

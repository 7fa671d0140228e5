"""The names of resources that need no domain before them."""

from __future__ import annotations

# What containers ask for.
CONTAINER_NAMES = frozenset({"cpu", "memory", "ephemeral-storage"})
COMPUTE = frozenset({"cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"})
# Objects that are counted.
COUNTED = frozenset(
    {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
OF_STORAGE = frozenset({"ephemeral-storage", "requests.storage", "requests.ephemeral-storage", "limits.ephemeral-storage"})
QUOTA_NAMES = COMPUTE | COUNTED | OF_STORAGE
STANDARD_NAMES = QUOTA_NAMES | {"storage"}

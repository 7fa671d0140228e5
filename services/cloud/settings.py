"""Settings of the cloud controller manager. Every time is in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.client.leader import Election


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """How the cloud controllers behave."""

    # A name of services.cloud.providers.catalog.
    provider: str = "local"
    # That provider's own settings: an instance of its settings class; None for its defaults.
    provider_settings: Any = None
    # Names this cluster at the provider, where several may share an account.
    cluster: str = "knarr"
    # Range of all pods: routes outside of it are not ours. Empty: no routes are made.
    cluster_cidr: str = "10.244.0.0/16"
    # Whether it acts only while holding the lease kube-system/knarr-cloud-controller-manager.
    election: Election = field(default_factory=lambda: Election("cloud-controller-manager"))
    # Keys that one controller reconciles at once: as many calls to the provider at most.
    workers: int = 16
    # A call to the provider that takes longer is cancelled and repeated later.
    call_timeout_seconds: float = 60.0
    # First and longest wait before a call that failed is repeated.
    retry_first_seconds: float = 1.0
    retry_limit_seconds: float = 300.0
    # How often a load balancer is ensured again although nothing has changed here: somebody may have changed it at the provider.
    check_seconds: float = 1800.0
    # How often addresses and labels of nodes are read again.
    node_refresh_seconds: float = 300.0
    # How often the machine of a node that is not ready is asked for.
    node_monitor_seconds: float = 5.0
    # How often the provider's routes are compared with the nodes.
    route_seconds: float = 10.0

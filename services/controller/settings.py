"""Settings of the controller manager. Every time is in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from knarr.client.leader import Election

# As in Kubernetes, for what is signed and for what nobody uses.
YEAR_SECONDS = 365 * 86_400.0
SIGNED_SECONDS = YEAR_SECONDS


@dataclass(frozen=True, slots=True)
class Signing:
    """The authority that signs requests for certificates: files in PEM, and how many seconds what it signs is good for at most."""

    certificate: Path
    key: Path
    duration_seconds: float = SIGNED_SECONDS


@dataclass(frozen=True, slots=True)
class EvictionRates:
    """How many nodes that are not ready may get the taint that their pods leave for, by how their zone is.

    ``per_second``: nodes of a zone where no more than a part is not ready.
    ``disrupted_per_second``: nodes of a zone where too many are not ready; none where it has ``large_zone`` nodes at most.
    ``unhealthy_share``: of a zone's nodes, from which on too many are not ready; 0 to 1.
    """

    per_second: float = 0.1
    disrupted_per_second: float = 0.01
    large_zone: int = 50
    unhealthy_share: float = 0.55


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """How the controllers behave.

    ``election``: whether it acts only while holding the lease ``kube-system/knarr-controller-manager``.
    ``workers``: keys that one controller reconciles at once.
    ``burst_replicas``: pods that one sync of a workload creates or deletes at most.
    ``node_grace_seconds``: silence after which a node's conditions become Unknown.
    ``eviction_rates``: how many nodes lose their pods for it, and how fast.
    ``orphan_quarantine_seconds``: how long a node must be gone before its pods are deleted.
    ``terminated_pod_threshold``: finished pods that may exist before the oldest are deleted; 0 keeps all.
    ``pod_gc_seconds``: how often pods are looked over for garbage.
    ``cluster_cidr``: range of all pods, from which each node gets a part; empty leaves that to others.
    ``node_mask_size``: prefix length of a node's part, bits.
    ``root_certificate``: PEM of the CA that the API server's certificate is from, for the pods of each namespace; empty keeps none.
    ``signing``: by what requests for certificates are signed; None leaves them to others.
    ``csi_drivers``: the drivers of volumes that are asked here, by name, and where: ``unix:///path``; others bring their own controllers.
    ``csi_seconds``: how long a driver may take for a call, before it is asked again.
    ``csi_capacity_seconds``: how often drivers are asked how much room they have.
    ``api_hosts``: further names at which API servers are reached: no node gets a certificate of one of them without a person.
    ``quota_resync_seconds``: how often the usage of a ResourceQuota is counted anew, whatever was heard.
    ``namespace_retry_seconds``: pause between two looks at a namespace whose content is still leaving; longer ones where nothing leaves.
    ``legacy_token_clean_up_seconds``: how long a token of an account may be unused before it is marked, and marked before it is deleted.
    ``autoscaler_sync_seconds``: how often each autoscaler is looked at.
    ``autoscaler_tolerance``: by which share a metric may be off before anything is scaled, where the autoscaler says nothing.
    ``autoscaler_downscale_stabilization_seconds``: within which recommendations count before pods go, where it says nothing.
    ``autoscaler_cpu_initialization_seconds``: how long after its start the CPU of a pod that is not ready says nothing.
    ``autoscaler_initial_readiness_seconds``: how long after its start a pod may be unready and count as never ready yet.
    """

    election: Election = field(default_factory=lambda: Election("controller-manager"))
    workers: int = 8
    burst_replicas: int = 500
    node_grace_seconds: float = 40.0
    eviction_rates: EvictionRates = field(default_factory=EvictionRates)
    orphan_quarantine_seconds: float = 40.0
    terminated_pod_threshold: int = 12_500
    pod_gc_seconds: float = 20.0
    namespace_retry_seconds: float = 0.5
    quota_resync_seconds: float = 300.0
    legacy_token_clean_up_seconds: float = YEAR_SECONDS
    autoscaler_sync_seconds: float = 15.0
    autoscaler_tolerance: float = 0.1
    autoscaler_downscale_stabilization_seconds: float = 300.0
    autoscaler_cpu_initialization_seconds: float = 300.0
    autoscaler_initial_readiness_seconds: float = 30.0
    cluster_cidr: str = "10.244.0.0/16"
    node_mask_size: int = 24
    root_certificate: str = ""
    signing: Signing | None = None
    csi_drivers: Mapping[str, str] = field(default_factory=dict)
    csi_seconds: float = 60.0
    csi_capacity_seconds: float = 60.0
    api_hosts: tuple[str, ...] = ()

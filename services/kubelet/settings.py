"""What a kubelet must be told about its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from services.kubelet.cpu_policy import ANY_CPU, CpuPolicy
from services.kubelet.image_verification import DEFAULT_VERIFICATION, ImageVerification
from services.kubelet.swap_behavior import NO_SWAP
from services.kubelet.thresholds import DEFAULT_GARBAGE, DEFAULT_THRESHOLDS, GarbageRules, Threshold

if TYPE_CHECKING:
    # It reads YAML, for which `knarr up` would wait before it has begun.
    from services.kubelet.credential_config import Provider

# The `cloud_provider` that is a component of its own, which tells of the node's machine.
EXTERNAL = "external"
CONTAINERD = "unix:///run/containerd/containerd.sock"


@dataclass(frozen=True, slots=True)
class ShutdownPeriod:
    """How many seconds pods of at least this priority, and of less than the next one's, get to end when the machine shuts down."""

    priority: int
    seconds: float


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """One node's kubelet."""

    # Name of the Node object; also its `kubernetes.io/hostname` label.
    node_name: str
    # Where pod directories (volumes, hosts files, termination messages) are kept; the engine must see it at the same path.
    data_dir: Path
    # Address by which other nodes and the apiserver reach this node.
    node_ip: str
    # Range of this node's pod addresses, CIDR; empty to take what the Node object is given.
    pod_cidr: str = "10.244.0.0/24"
    # Where KubeletService is reached, TCP port.
    port: int = 10250
    # Names the cluster in the labels of everything the kubelet makes in the engine.
    cluster_id: str = "knarr"
    # Where a container engine that speaks CRI listens, for the runtime `containerd`: `unix://path`.
    container_runtime_endpoint: str = CONTAINERD
    # Who has which processors.
    cpu_policy: CpuPolicy = ANY_CPU
    # `LimitedSwap`: Burstable pods may use a part of the machine's swap; and whether a machine that has any is refused.
    swap_behavior: str = NO_SWAP
    fail_swap_on: bool = False
    # What the node has of the machine's `cpu` (milli-CPU) and `memory` (bytes), where that is not all of it.
    size: Mapping[str, int] = field(default_factory=dict)
    # Most pods the node takes.
    max_pods: int = 110
    # Taken from the capacity before pods may ask for it, for the kubelet and the engine, and for the system: amounts by resource.
    kube_reserved: Mapping[str, int] = field(default_factory=dict)
    system_reserved: Mapping[str, int] = field(default_factory=dict)
    # At how little of what is left the node protects itself; how long its conditions stay true after; and how long the containers of a
    # pod that it ends for a soft threshold may take, seconds.
    thresholds: tuple[Threshold, ...] = DEFAULT_THRESHOLDS
    pressure_transition_seconds: float = 300.0
    eviction_max_pod_grace_seconds: float = 0.0
    # When images are given up.
    image_garbage: GarbageRules = DEFAULT_GARBAGE
    # Period of the node's Lease renewal, seconds, and how long the Lease holds, seconds.
    lease_renew_seconds: float = 10.0
    lease_duration_seconds: int = 40
    # Longest time between two writes of an unchanged node status, seconds; a change is written at once.
    status_report_seconds: float = 300.0
    # How often the node's state (engine, disk, memory) is looked at, seconds.
    status_check_seconds: float = 2.0
    # Address of the cluster's DNS server for pods with dnsPolicy ClusterFirst; empty means the node's own servers.
    cluster_dns: str = ""
    cluster_domain: str = "cluster.local"
    # The node's own resolver settings, for pods with dnsPolicy Default.
    resolv_conf: Path = Path("/etc/resolv.conf")
    # Said where an image cannot be pulled: what a person can do on this node; `{image}` stands for the image. Empty: nothing.
    pull_advice: str = ""
    # The node's own logins to registries, as `docker login` writes them; None, or a file that is not there: it has none.
    registry_config: Path | None = None
    # A mirror of docker.io that is asked first for images that need no login, a URL; empty: there is none.
    registry_mirror: str = ""
    # A folder of files, or one file, with the pods that the node runs by itself; None: there are none.
    manifest_path: Path | None = None
    # Programs that know logins to registries, and the folder that they lie in.
    credential_providers: tuple[Provider, ...] = ()
    credential_provider_folder: Path = Path("/")
    # Of which images that are on the node pods must show that they may pull them.
    image_verification: ImageVerification = DEFAULT_VERIFICATION
    # How many images are pulled at the same time; 0: as many as are asked for.
    max_parallel_pulls: int = 0
    # How large a file of a container's log grows, bytes, and how many are kept, the one that is written to among them.
    container_log_max_bytes: int = 10 << 20
    container_log_max_files: int = 5
    # Where drivers of devices say what containers get by them (files of the container device interface): the later ones go first.
    cdi_folders: tuple[Path, ...] = (Path("/etc/cdi"), Path("/var/run/cdi"))
    # How many pods start at once.
    start_concurrency: int = 8
    # A process with the mounts that the engine sees, where those are not the kubelet's own; 0: they are.
    mounts_of: int = 0
    # `external`: a cloud controller manager tells of the node's machine, and until then nothing is scheduled onto it; empty: nobody does.
    cloud_provider: str = ""
    # A container of the engine's whose network namespace is the node's, and this process': the node shares a machine, and its engine, with
    # others. Empty: the machine's own is.
    network_of: str = ""
    # The machine at its provider, like `aws:///zone/i-0123`; empty to let the cloud controller manager find it.
    provider_id: str = ""
    # Parameters of the kernel that pods may set although others on the node may feel it: names, or how they begin before `*`.
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    # When the machine shuts down, by the pods' priority; none: pods end with the machine.
    shutdown_periods: tuple[ShutdownPeriod, ...] = ()
    # Extra node labels.
    labels: dict[str, str] = field(default_factory=dict)
    # Taints the node registers with, as `key=value:effect`.
    taints: tuple[str, ...] = ()

    @property
    def folders(self) -> Path:
        """Where the node's volumes of the class local-path lie."""
        return self.data_dir.absolute() / "local-path"

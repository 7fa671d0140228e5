"""How a CRI runtime is set up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POD_LOGS = Path("/var/log/pods")


@dataclass(frozen=True, slots=True)
class CriSettings:
    """One node's engine."""

    # Names the cluster and the node in the labels of everything that is made.
    cluster_id: str
    node_name: str
    # Range of the node's pod addresses, CIDR; the bridge takes the first. Empty until it is known, which is before the start.
    pod_cidr: str
    # Where the engine listens: `unix://path`.
    endpoint: str
    # The network of the node's pods as the engine's plugins know it, and the name of its bridge interface.
    network: str = "knarr"
    bridge: str = "knarr0"
    # Largest packet of the pods' interfaces, bytes.
    mtu: int = 1500
    # Where containers' output is kept, below a folder for each pod; the engine must see it at the same path.
    logs: Path = POD_LOGS
    # Size in bytes at which a container's log is rotated, and how many files of it are kept.
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5
    # A mirror of docker.io that is asked first, a URL; empty: there is none.
    registry_mirror: str = ""
    # How often logs are looked at, seconds.
    log_check_seconds: float = 10.0
    # How often everything is listed: as a net beneath the engine's events, and where it has none to tell, seconds.
    relist_seconds: float = 15.0
    eventless_relist_seconds: float = 1.0
    # Longest time the engine may take for an answer, seconds; a pull has no end of its own.
    timeout_seconds: float = 120.0

"""How a Docker runtime is set up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """One node's engine."""

    # Names the cluster and the node in the labels of everything that is made.
    cluster_id: str
    node_name: str
    # Range of the node's pod addresses, CIDR; the bridge takes the first. Empty until it is known, which is before the start.
    pod_cidr: str
    # Where the engine listens: `unix://path` or `tcp://host:port`.
    url: str = "unix:///var/run/docker.sock"
    # The node's Docker network and the name of its bridge interface.
    network: str = "knarr"
    bridge: str = "knarr0"
    # A container whose network namespace is the node's: the bridge is this kubelet's to make in it, and the engine knows of no network.
    # Empty: the node's is the engine's own.
    network_of: str = ""
    # Largest packet of the pods' interfaces, bytes; 0 leaves it to the engine.
    mtu: int = 1500
    # How often everything is listed as a net beneath the event stream, seconds.
    relist_seconds: float = 15.0
    # Longest time the engine may take for an answer, seconds.
    timeout_seconds: float = 120.0
    # Size in bytes at which the engine rotates the log of a container that is made from now on, and how many files of it are kept.
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5
    # A mirror of docker.io that is asked first, a URL; empty: there is none.
    registry_mirror: str = ""

"""What an engine tells of what containers and sandboxes use."""

from __future__ import annotations

from dataclasses import dataclass

from services.kubelet.runtime.plan import PodRef


@dataclass(frozen=True, slots=True)
class NetworkUse:
    """What has come in and gone out by a network interface since it was made."""

    interface: str
    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


@dataclass(frozen=True, slots=True)
class UsageDetails:
    """What else an engine tells of a container's use: since its start, or now. 0 where it does not; ``memory_limit_bytes`` 0: none.

    ``networks`` are those of a sandbox, which its containers share.
    """

    cpu_user_nanoseconds: int = 0
    cpu_system_nanoseconds: int = 0
    cpu_periods: int = 0
    cpu_throttled_periods: int = 0
    cpu_throttled_nanoseconds: int = 0
    memory_usage_bytes: int = 0
    memory_most_bytes: int = 0
    memory_limit_bytes: int = 0
    memory_failures: int = 0
    cache_bytes: int = 0
    rss_bytes: int = 0
    mapped_bytes: int = 0
    swap_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0
    networks: tuple[NetworkUse, ...] = ()


NO_DETAILS = UsageDetails()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container used: CPU since its start, memory now (without reclaimable cache)."""

    pod: PodRef
    container: str
    cpu_nanoseconds: int
    memory_bytes: int
    # Processes and threads.
    processes: int = 0
    details: UsageDetails = NO_DETAILS


@dataclass(frozen=True, slots=True)
class Storage:
    """What a container, running or not, has written: into its own layer, and as its logs.

    ``layer`` and ``logs`` are folders of the node to be measured; where the engine has no folder for the layer, it says what it holds.
    """

    pod: PodRef
    container: str
    layer: str = ""
    logs: str = ""
    layer_bytes: int = 0
    layer_inodes: int = 0

"""What the engine says of the use of one container, in the runtime port's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.kubelet.runtime.memory_stat import UNLIMITED, details_of_memory, working_set
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.usage import NetworkUse, Usage, UsageDetails


def usage_of(pod: PodRef, container: str, stats: Mapping[str, Any]) -> Usage:
    """``stats`` is an answer of ``/containers/ID/stats``. Raises KeyError where it tells no CPU time."""
    cpu, memory = stats["cpu_stats"]["cpu_usage"]["total_usage"], _part(stats, "memory_stats")
    used = working_set(int(memory.get("usage") or 0), _part(memory, "stats"))
    return Usage(pod, container, int(cpu), used, int(_part(stats, "pids_stats").get("current") or 0), details_of(stats))


def details_of(stats: Mapping[str, Any]) -> UsageDetails:
    """``stats`` as above; what an engine does not tell is 0."""
    cpu = _part(stats, "cpu_stats")
    used, throttled = _part(cpu, "cpu_usage"), _part(cpu, "throttling_data")
    memory = _part(stats, "memory_stats")
    limit = int(memory.get("limit") or 0)
    return replace(
        details_of_memory(_part(memory, "stats")),
        cpu_user_nanoseconds=int(used.get("usage_in_usermode") or 0),
        cpu_system_nanoseconds=int(used.get("usage_in_kernelmode") or 0),
        cpu_periods=int(throttled.get("periods") or 0),
        cpu_throttled_periods=int(throttled.get("throttled_periods") or 0),
        cpu_throttled_nanoseconds=int(throttled.get("throttled_time") or 0),
        memory_usage_bytes=int(memory.get("usage") or 0),
        memory_most_bytes=int(memory.get("max_usage") or 0),
        memory_limit_bytes=limit if limit < UNLIMITED else 0,
        memory_failures=int(memory.get("failcnt") or 0),
        read_bytes=_blocks(stats, "io_service_bytes_recursive", "read"),
        written_bytes=_blocks(stats, "io_service_bytes_recursive", "write"),
        reads=_blocks(stats, "io_serviced_recursive", "read"),
        writes=_blocks(stats, "io_serviced_recursive", "write"),
        networks=tuple(_network(name, found) for name, found in sorted(_part(stats, "networks").items())),
    )


def _part(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = told.get(name) or {}
    return found


def _blocks(stats: Mapping[str, Any], kind: str, operation: str) -> int:
    entries = _part(stats, "blkio_stats").get(kind) or ()
    return sum(int(entry.get("value") or 0) for entry in entries if str(entry.get("op", "")).lower() == operation)


def _network(name: str, told: Mapping[str, Any]) -> NetworkUse:
    names = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")
    return NetworkUse(name, *(int(told.get(key) or 0) for key in names))

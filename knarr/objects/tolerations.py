"""Taints, and which of them a pod tolerates."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core

NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "PreferNoSchedule", "NoExecute"
EFFECTS = (NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE)
# Taints that Kubernetes itself sets on nodes.
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
DISK_PRESSURE, MEMORY_PRESSURE, PID_PRESSURE = (f"node.kubernetes.io/{what}-pressure" for what in ("disk", "memory", "pid"))
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"
# And the one that a node has until the cloud controller manager knows its machine.
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
UNSCHEDULABLE_TAINT = core.Taint(key=UNSCHEDULABLE, effect=NO_SCHEDULE)


def parse_taint(text: str) -> core.Taint:
    """``key=value:effect``, as people write it; the value may be left out. Raises ValueError, which says what it must be like."""
    head, _, effect = text.rpartition(":")
    key, _, value = head.partition("=")
    if effect not in EFFECTS or not key:
        raise ValueError(f"must be like dedicated=builds:NoSchedule, with one of {', '.join(EFFECTS)}")
    return core.Taint(key=key, value=value, effect=effect)


def tolerates(toleration: core.Toleration, taint: core.Taint) -> bool:
    """An empty effect means all effects; an empty key with Exists means all taints."""
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.key not in ("", taint.key):
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.operator in ("", "Equal") and bool(toleration.value == taint.value)


def untolerated(tolerations: Iterable[core.Toleration], taints: Iterable[core.Taint], effects: Iterable[str]) -> list[core.Taint]:
    """The taints with one of the effects that no toleration covers."""
    listed, wanted = list(tolerations), set(effects)
    return [taint for taint in taints if taint.effect in wanted and not any(tolerates(toleration, taint) for toleration in listed)]

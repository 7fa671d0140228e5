"""The Node's conditions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.conditions import TRUE, condition_status, get_condition, set_condition
from services.kubelet.node.machine import Pressure

# By these an external cloud provider tells of the routes to the node's pods.
ROUTE_REASONS = ("RouteCreated", "NoRouteCreated")


@dataclass(frozen=True, slots=True)
class ConditionWords:
    """A condition's type, and reason and message for either status."""

    type: str
    true_reason: str
    true_message: str
    false_reason: str
    false_message: str


NETWORK_UNAVAILABLE = ConditionWords(
    "NetworkUnavailable", "PodNetworkNotReady", "", "PodNetworkReady", "the node has a range of addresses for its pods"
)
MEMORY_PRESSURE = ConditionWords(
    "MemoryPressure",
    "KubeletHasInsufficientMemory",
    "kubelet has insufficient memory available",
    "KubeletHasSufficientMemory",
    "kubelet has sufficient memory available",
)
DISK_PRESSURE = ConditionWords(
    "DiskPressure", "KubeletHasDiskPressure", "kubelet has disk pressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"
)
PID_PRESSURE = ConditionWords(
    "PIDPressure",
    "KubeletHasInsufficientPID",
    "kubelet has insufficient PID available",
    "KubeletHasSufficientPID",
    "kubelet has sufficient PID available",
)
READY = ConditionWords("Ready", "KubeletReady", "kubelet is posting ready status", "KubeletNotReady", "")
OWN = frozenset(words.type for words in (NETWORK_UNAVAILABLE, MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE, READY))


def set_conditions(
    status: core.NodeStatus,
    old: core.NodeStatus,
    pressure: Pressure,
    engine_trouble: str,
    network_trouble: str,
    now: datetime,
    own_trouble: str = "",
) -> None:
    """Those of others as they stand in ``old``, then the kubelet's own; a route's NetworkUnavailable stays while the network is well."""
    status.conditions.extend(condition for condition in old.conditions if condition.type not in OWN)
    routed = get_condition(old, NETWORK_UNAVAILABLE.type)
    if routed is not None and routed.reason in ROUTE_REASONS and not network_trouble:
        status.conditions.append(routed)
    else:
        _set(status, old, NETWORK_UNAVAILABLE, bool(network_trouble), now, network_trouble)
    for words, is_short in _shortages(pressure):
        _set(status, old, words, is_short, now)
    beneath = ""
    if network_trouble or engine_trouble:
        beneath = f"the pod network is not ready: {network_trouble}" if network_trouble else f"container runtime is down: {engine_trouble}"
    trouble = ", ".join(filter(None, (own_trouble, beneath)))
    _set(status, old, READY, not trouble, now, trouble)


def pressing(pressure: Pressure) -> list[str]:
    """The types of the conditions that tell what the node is short of."""
    return [words.type for words, is_short in _shortages(pressure) if is_short]


def _shortages(pressure: Pressure) -> tuple[tuple[ConditionWords, bool], ...]:
    return (MEMORY_PRESSURE, pressure.memory), (DISK_PRESSURE, pressure.disk), (PID_PRESSURE, pressure.pids)


def news(before: core.NodeStatus, after: core.NodeStatus) -> list[str]:
    """What events tell of the conditions that changed, by their reasons: ``NodeReady``, ``NodeHasInsufficientMemory`` and the like."""
    found = []
    for words in (READY, MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE):
        new = condition_status(after, words.type)
        if new and new != condition_status(before, words.type):
            reason = words.true_reason if new == TRUE else words.false_reason
            found.append(f"Node{reason.removeprefix('Kubelet')}")
    return found


def _set(status: core.NodeStatus, old: core.NodeStatus, words: ConditionWords, value: bool, now: datetime, message: str = "") -> None:
    """``message`` takes the place of the words' own."""
    reason, usual = (words.true_reason, words.true_message) if value else (words.false_reason, words.false_message)
    set_condition(status, words.type, value, reason=reason, message=message or usual, now=now, before=old)
    status.conditions[-1].last_heartbeat_time.CopyFrom(to_time(now))

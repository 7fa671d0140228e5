"""Node lifecycle: from a node's conditions and silence to its taints and to the pods that must leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime, to_time
from knarr.objects.conditions import get_condition, set_condition
from knarr.objects.pods import is_deleting, is_finished, is_ready

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "NoExecute"
# Conditions that are a problem when True, and their taints.
PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
# What a silent kubelet no longer vouches for.
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_MANAGED = {(key, effect) for key in (NOT_READY, UNREACHABLE) for effect in (NO_SCHEDULE, NO_EXECUTE)} | {
    (key, NO_SCHEDULE) for key in (UNSCHEDULABLE, *PRESSURES.values())
}


@dataclass(frozen=True, slots=True)
class Evictions:
    """``now`` must go; ``not_ready`` are to be marked so; ``again_seconds`` until the next one is due."""

    now: Sequence[core.Pod]
    not_ready: Sequence[core.Pod]
    again_seconds: float | None


def silenced(node: core.Node, now: datetime) -> core.NodeStatus:
    """The status of a node whose kubelet has been silent for too long."""
    status = core.NodeStatus()
    status.CopyFrom(node.status)
    for kind in _REPORTED:
        if get_condition(status, kind) is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        else:
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        current = get_condition(status, kind)
        if current is None or current.status != "Unknown":
            set_condition(status, kind, "Unknown", reason=reason, message=message, now=now)
    return status


def taints(node: core.Node, now: datetime) -> list[core.Taint]:
    """The node's taints: those of others as they are, ours by its conditions and ``spec.unschedulable``."""
    wanted = _wanted(node)
    kept = [taint for taint in node.spec.taints if (taint.key, taint.effect) not in _MANAGED or (taint.key, taint.effect) in wanted]
    present = {(taint.key, taint.effect) for taint in kept}
    stamp = to_time(now)
    return kept + [core.Taint(key=key, effect=effect, time_added=stamp) for key, effect in wanted if (key, effect) not in present]


def evictions(node: core.Node, pods: Iterable[core.Pod], now: datetime) -> Evictions:
    """What becomes of the node's pods under its NoExecute taints, counted from when each was added."""
    executing = [taint for taint in node.spec.taints if taint.effect == NO_EXECUTE]
    ready = get_condition(node.status, "Ready")
    lost = ready is not None and ready.status != "True"
    alive = [pod for pod in pods if not is_finished(pod)]
    go, waits = list[core.Pod](), list[float]()
    for pod in alive:
        seconds = None if is_deleting(pod) else _seconds_left(pod, executing, now)
        if seconds == 0:
            go.append(pod)
        elif seconds is not None:
            waits.append(seconds)
    return Evictions(go, [pod for pod in alive if lost and is_ready(pod)], min(waits, default=None))


def tolerates(toleration: core.Toleration, taint: core.Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.operator in ("", "Equal") and toleration.value == taint.value


def _wanted(node: core.Node) -> list[tuple[str, str]]:
    ready = get_condition(node.status, "Ready")
    wanted = list[tuple[str, str]]()
    if ready is None or ready.status == "Unknown":
        wanted += [(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)] if ready is not None else [(NOT_READY, NO_SCHEDULE)]
    elif ready.status == "False":
        wanted += [(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)]
    wanted += [
        (key, NO_SCHEDULE)
        for kind, key in PRESSURES.items()
        if (condition := get_condition(node.status, kind)) is not None and condition.status == "True"
    ]
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, NO_SCHEDULE))
    return wanted


def _seconds_left(pod: core.Pod, executing: Sequence[core.Taint], now: datetime) -> float | None:
    """0 when the pod must go now, None when it may stay."""
    left = list[float]()
    for taint in executing:
        matching = [toleration for toleration in pod.spec.tolerations if tolerates(toleration, taint)]
        if not matching:
            return 0.0
        limits = [toleration.toleration_seconds for toleration in matching if toleration.HasField("toleration_seconds")]
        if limits:
            since = to_datetime(taint.time_added) if taint.HasField("time_added") else now
            left.append(max(0.0, (since + timedelta(seconds=max(0, min(limits))) - now).total_seconds()))
    return min(left, default=None)

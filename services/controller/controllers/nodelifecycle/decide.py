"""Node lifecycle: from a node's conditions and silence to its taints and to the pods that must leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import seconds_after, to_datetime, to_time
from knarr.objects.conditions import FALSE, TRUE, UNKNOWN, condition_status, is_true, set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.labels import BETA_REGION, BETA_ZONE, REGION, ZONE
from knarr.objects.pods import is_finished, is_ready
from knarr.objects.tolerations import NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE, tolerates
from services.controller.controllers.nodelifecycle.zones import Standing, Zone

# Conditions that are a problem when True, and their taints.
PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
# What a silent kubelet no longer vouches for.
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_EXECUTING = {(key, NO_EXECUTE) for key in (NOT_READY, UNREACHABLE)}
_MANAGED = _EXECUTING | {(key, NO_SCHEDULE) for key in (NOT_READY, UNREACHABLE, UNSCHEDULABLE, *PRESSURES.values())}
# A label of nodes that say nothing of their zone: those that are off for most of the time.
EXCLUDED = "node.kubernetes.io/exclude-disruption"

# By key and value of a NoExecute taint, since when it is there.
Seen = Mapping[tuple[str, str], datetime]


@dataclass(frozen=True, slots=True)
class Evictions:
    """``now`` must go; ``later`` are patient for a while yet; ``not_ready`` are to be marked so; ``again_seconds`` until the next one is
    due."""

    now: Sequence[core.Pod]
    later: Sequence[core.Pod]
    not_ready: Sequence[core.Pod]
    again_seconds: float | None


def silenced(node: core.Node, now: datetime) -> core.NodeStatus:
    """The status of a node whose kubelet has been silent for too long."""
    status = copy_of(node.status)
    for kind in _REPORTED:
        current = condition_status(status, kind)
        if not current:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        else:
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        if current != UNKNOWN:
            set_condition(status, kind, UNKNOWN, reason=reason, message=message, now=now)
    return status


def standing(node: core.Node) -> Standing:
    """What of the node matters to its zone. Of two names of a label the older one counts, as in Kubernetes."""
    labels, ready = node.metadata.labels, condition_status(node.status, "Ready")
    region, zone = (labels[old] if old in labels else labels.get(new, "") for old, new in ((BETA_REGION, REGION), (BETA_ZONE, ZONE)))
    tainted = any((taint.key, taint.effect) in _EXECUTING for taint in node.spec.taints)
    return Standing(Zone(region, zone), ready == TRUE, EXCLUDED not in labels, ready in (FALSE, UNKNOWN), tainted)


def taints(node: core.Node, now: datetime, *, executes: bool) -> list[core.Taint]:
    """The node's taints: those of others as they are, ours by its conditions and ``spec.unschedulable``. ``executes``: whether its pods may
    have to leave for them now."""
    wanted = _wanted(node, executes)
    kept = [taint for taint in node.spec.taints if (taint.key, taint.effect) not in _MANAGED or (taint.key, taint.effect) in wanted]
    present = {(taint.key, taint.effect) for taint in kept}
    stamp = to_time(now)
    return kept + [core.Taint(key=key, effect=effect, time_added=stamp) for key, effect in wanted if (key, effect) not in present]


def seen_taints(node: core.Node, seen: Seen, now: datetime) -> Seen:
    """Since when each NoExecute taint is there: when it was added, if it says so (one that a person adds does not), else when it was
    first ``seen``."""
    found = {}
    for taint in node.spec.taints:
        if taint.effect == NO_EXECUTE:
            mark = taint.key, taint.value
            found[mark] = to_datetime(taint.time_added) if taint.HasField("time_added") else seen.get(mark, now)
    return found


def evictions(node: core.Node, pods: Iterable[core.Pod], seen: Seen, now: datetime) -> Evictions:
    """What becomes of the node's pods under its NoExecute taints. What a pod tolerates for a time it does from when the taint was there,
    or the pod, whichever came later."""
    executing = [taint for taint in node.spec.taints if taint.effect == NO_EXECUTE]
    # A kubelet that says itself that its node is not ready still vouches for its pods: it would take back at once what is said of them.
    lost = condition_status(node.status, "Ready") == UNKNOWN
    alive = [pod for pod in pods if not is_finished(pod)]
    go, later, waits = list[core.Pod](), list[core.Pod](), list[float]()
    for pod in alive:
        seconds = None if is_deleting(pod) else _seconds_left(pod, executing, seen, now)
        if seconds == 0:
            go.append(pod)
        elif seconds is not None:
            later.append(pod)
            waits.append(seconds)
    return Evictions(go, later, [pod for pod in alive if lost and is_ready(pod)], min(waits, default=None))


def _wanted(node: core.Node, executes: bool) -> list[tuple[str, str]]:
    ready = condition_status(node.status, "Ready")
    wanted = list[tuple[str, str]]()
    if ready != TRUE:
        key = UNREACHABLE if ready == UNKNOWN else NOT_READY
        wanted.append((key, NO_SCHEDULE))
        if executes and ready:
            wanted.append((key, NO_EXECUTE))
    wanted += [(key, NO_SCHEDULE) for kind, key in PRESSURES.items() if is_true(node.status, kind)]
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, NO_SCHEDULE))
    return wanted


def _seconds_left(pod: core.Pod, executing: Sequence[core.Taint], seen: Seen, now: datetime) -> float | None:
    """0 when the pod must go now, None when it may stay."""
    left = list[float]()
    for taint in executing:
        # Of several the first one counts, as in Kubernetes.
        borne = next((toleration for toleration in pod.spec.tolerations if tolerates(toleration, taint)), None)
        if borne is None:
            return 0.0
        if borne.HasField("toleration_seconds"):
            since = max(seen[taint.key, taint.value], to_datetime(pod.metadata.creation_timestamp))
            until = seconds_after(since, max(0, borne.toleration_seconds))
            left += [max(0.0, (until - now).total_seconds())] if until is not None else []
    return min(left, default=None)

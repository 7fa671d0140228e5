"""A trace of what was seen of a cluster: nodes that came, went and failed; workloads that came, were scaled and went. Pure.

Each thing is told once it is seen, with the seconds since the recording began; what was there before is told with None. What a trace cannot
say is counted in ``left_out``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.machinery import quantity
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import get_condition, is_true
from knarr.objects.copies import copy_of
from knarr.objects.owners import controller_of
from knarr.objects.pods import MIRROR, SUCCEEDED, is_finished
from services.simulation.recorded import manifest
from services.simulation.trace import MOST_PODS

# What is created before the others: they are judged by it.
GROUNDWORK: tuple[type[Message], ...] = (
    scheduling.PriorityClass, core.LimitRange, core.ResourceQuota, policy.PodDisruptionBudget,
)  # fmt: skip
# What has replicas that are changed.
SCALED: tuple[type[Message], ...] = (apps.Deployment, apps.StatefulSet, apps.ReplicaSet, core.ReplicationController)
WORKLOADS: tuple[type[Message], ...] = (*SCALED, apps.DaemonSet, batch.Job)
# A node whose heartbeats are missed is told of only so long after the last of them.
GRACE_SECONDS = 40.0
# A kubelet keeps so much of a simulated machine's memory free.
KEPT_BYTES = 100 << 20
SHORTEST_FAILURE_SECONDS = 1.0
# Of labels and taints these are each node's own, or given by Kubernetes.
OWN_LABELS = ("kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "knarr.dev/group", "knarr.dev/hollow")
BETA, GIVEN_TAINTS = "beta.kubernetes.io/", ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


@dataclass(frozen=True, slots=True)
class Likeness:
    """Nodes of one are of one group."""

    cpus: int
    memory: str
    pods: int
    labels: tuple[tuple[str, str], ...]
    taints: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    likeness: Likeness
    joined: float | None
    left: float | None = None
    # Since when it is not ready; and from when to when it was not before, for good where that is None.
    failing: float | None = None
    failures: list[tuple[float, float | None]] = field(default_factory=list)


@dataclass(slots=True)
class _Workload:
    first: Message
    at: float | None
    changes: list[dict[str, Any]] = field(default_factory=list)
    # How long pods of it ran that have ended well.
    ran: list[float] = field(default_factory=list)


class Recording:
    """``node``, ``workload`` and ``pod`` hear of changes as an informer tells them, old and new; ``document`` is the trace."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._workloads: dict[str, _Workload] = {}
        # What cannot be said in a trace, and how often it happened.
        self.left_out: Counter[str] = Counter()

    def node(self, at: float | None, old: core.Node | None, new: core.Node | None) -> None:
        if new is None:
            if old is not None and (gone := self._nodes.get(old.metadata.uid)) is not None and gone.left is None:
                gone.left = at or 0.0
            return
        known = self._nodes.get(new.metadata.uid)
        if known is None:
            known = self._nodes[new.metadata.uid] = _Node(likeness_of(new), at)
        if is_true(new.status, "Ready"):
            if known.failing is not None:
                known.failures.append((known.failing, at or 0.0))
                known.failing = None
        elif known.failing is None and (old is not None or at is None):
            known.failing = _failed_at(new, at or 0.0)

    def workload(self, at: float | None, old: Message | None, new: Message | None) -> None:
        """One of GROUNDWORK or WORKLOADS. What another workload controls is that one's to make anew."""
        shown: Any = new if new is not None else old
        uid = shown.metadata.uid
        known = self._workloads.get(uid)
        if known is None:
            if new is not None and _is_wanted(shown) and not (at is None and _is_over(shown)):
                self._workloads[uid] = _Workload(copy_of(new), at)
            return
        if new is None:
            if not _is_over(shown):
                known.changes.append({"at": at or 0.0, "delete": True})
            return
        before: Any = old
        if before is None:
            return
        if isinstance(new, SCALED) and before.spec.replicas != shown.spec.replicas:
            known.changes.append({"at": at or 0.0, "replicas": shown.spec.replicas})
        if not isinstance(new, batch.Job) and _but_replicas(before) != _but_replicas(shown):
            self.left_out["changes of a workload that are more than its replicas"] += 1

    def pod(self, at: float | None, old: core.Pod | None, new: core.Pod | None) -> None:
        """A pod of its own is a workload; of one that a Job controls it is of interest how long it ran."""
        shown = new if new is not None else old
        assert shown is not None
        owner = controller_of(shown)
        if owner is None and MIRROR not in shown.metadata.annotations:
            self.workload(at, old, new)
        seconds = ran_seconds(shown) if new is not None else None
        known = self._workloads.get(shown.metadata.uid if owner is None else owner.uid)
        if seconds is not None and known is not None and (old is None or ran_seconds(old) is None):
            known.ran.append(seconds)

    def document(self, seconds: float) -> dict[str, Any]:
        """The trace of so many seconds."""
        ordered = sorted(self._workloads.values(), key=lambda one: (one.at or 0.0, _rank(one.first)))
        return {
            "apiVersion": "knarr.dev/v1",
            "kind": "Trace",
            "until": _time(max(seconds, 1.0)),
            "nodes": list(self._groups()),
            "workloads": [_shown(one) for one in ordered],
        }

    def _groups(self) -> Iterator[dict[str, Any]]:
        by_likeness: dict[Likeness, list[_Node]] = {}
        for node in self._nodes.values():
            by_likeness.setdefault(node.likeness, []).append(node)
        for number, (like, nodes) in enumerate(by_likeness.items(), 1):
            group: dict[str, Any] = {
                "group": f"nodes-{number}",
                "count": sum(node.joined is None for node in nodes),
                "cpu": like.cpus,
                "memory": like.memory,
                "pods": like.pods,
            }
            if like.labels:
                group["labels"] = dict(like.labels)
            if like.taints:
                group["taints"] = list(like.taints)
            if changes := list(_changes(nodes)):
                group["changes"] = changes
            yield group


def likeness_of(node: core.Node) -> Likeness:
    """What a simulated node has to be like to offer pods what this one does."""
    offered = node.status.allocatable
    taints = (taint for taint in node.spec.taints if not taint.key.startswith(GIVEN_TAINTS) or taint.key == UNSCHEDULABLE)
    return Likeness(
        max(quantity.milli(offered["cpu"].string or "0") // 1000, 1),
        str(quantity.value(offered["memory"].string or "0") + KEPT_BYTES),
        min(max(quantity.value(offered["pods"].string or "0"), 1), MOST_PODS),
        tuple(sorted((key, value) for key, value in node.metadata.labels.items() if key not in OWN_LABELS and not key.startswith(BETA))),
        tuple(f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}" for taint in taints),
    )


def ran_seconds(pod: core.Pod) -> float | None:
    """How long the containers of a pod ran that has ended well; None for any other."""
    ended = [found.state.terminated for found in pod.status.container_statuses if found.state.HasField("terminated")]
    if pod.status.phase != SUCCEEDED or not ended:
        return None
    begun, over = min(to_datetime(one.started_at) for one in ended), max(to_datetime(one.finished_at) for one in ended)
    return max((over - begun) / timedelta(seconds=1), 0.0)


def _failed_at(node: core.Node, at: float) -> float:
    """When a node stopped working that is seen not to be ready: one that says so itself just now, of any other it was noticed late."""
    ready = get_condition(node.status, "Ready")
    return max(at - GRACE_SECONDS, 0.0) if ready is not None and ready.status == "Unknown" else at


def _is_wanted(obj: Any) -> bool:
    """Whether a simulated cluster is to have it: not what it makes by itself. What a CronJob makes comes when it came."""
    if isinstance(obj, scheduling.PriorityClass) and obj.metadata.name.startswith("system-"):
        return False
    owner = controller_of(obj)
    return owner is None or owner.kind == "CronJob"


def _is_over(obj: Any) -> bool:
    if isinstance(obj, batch.Job):
        return is_true(obj.status, "Complete") or is_true(obj.status, "Failed")
    return isinstance(obj, core.Pod) and is_finished(obj)


def _but_replicas(obj: Any) -> Any:
    """What a workload asks for beside how many there are to be; of a pod that is nothing that a trace could change."""
    if isinstance(obj, core.Pod) or "spec" not in obj.DESCRIPTOR.fields_by_name:
        return None
    spec = copy_of(obj.spec)
    if isinstance(obj, SCALED):
        spec.ClearField("replicas")
    return spec


def _rank(obj: Message) -> int:
    return next((place for place, kind in enumerate(GROUNDWORK) if isinstance(obj, kind)), len(GROUNDWORK))


def _shown(one: _Workload) -> dict[str, Any]:
    seconds = sum(one.ran) / len(one.ran) if one.ran else None
    first: Any = one.first
    if isinstance(first, batch.Job) and one.at is None and first.status.succeeded and first.spec.completion_mode != "Indexed":
        first = copy_of(first)
        first.spec.completions = max(first.spec.completions - first.status.succeeded, 1)
    found: dict[str, Any] = {"at": _time(one.at or 0.0), "manifest": manifest(first, seconds)}
    if one.changes:
        found["changes"] = [{**change, "at": _time(change["at"])} for change in one.changes]
    return found


def _changes(nodes: list[_Node]) -> Iterator[dict[str, Any]]:
    """Of a group, in their order; what happened to several at once is one."""
    counted: Counter[tuple[float, str, float | None]] = Counter()
    for node in nodes:
        if node.joined is not None:
            counted[node.joined, "add", None] += 1
        if node.left is not None:
            counted[node.left, "remove", None] += 1
        failures = [*node.failures, *([(node.failing, None)] if node.failing is not None and node.left is None else [])]
        for begun, over in failures:
            counted[begun, "fail", None if over is None else max(over - begun, SHORTEST_FAILURE_SECONDS)] += 1
    for (at, what, seconds), count in sorted(counted.items(), key=lambda item: (item[0][0], item[0][1])):
        yield {"at": _time(at), what: count, **({"for": _time(seconds)} if seconds is not None else {})}


def _time(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"

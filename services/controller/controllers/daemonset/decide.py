"""DaemonSet: from nodes and the pods that exist to the pods to create and delete, and the status to report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting
from knarr.objects.pods import FAILED, SUCCEEDED, is_ready, seconds_until_available
from services.controller.controllers.daemonset.nodes import NodeView, Pods, views
from services.controller.controllers.daemonset.rolling import ROLLING_UPDATE, allows_surge, roll


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a DaemonSet is looked at.

    ``pods`` are its own; ``hashes`` those of the revisions that have its template. ``held`` answers for how many seconds the failed pods
    of a node are still to be left alone. ``settled`` is False while own writes are still unseen: then nothing is created or deleted.
    """

    nodes: Iterable[core.Node]
    pods: Iterable[core.Pod]
    hashes: Collection[str]
    now: datetime
    held: Callable[[str], float] = lambda node: 0.0
    burst: int = 500
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """Names of nodes to ``create`` pods for, pods to ``delete``, of which some have ``ended`` by themselves, the ``status`` of what was
    found, and after how many seconds time alone changes something (None: never)."""

    create: Sequence[str]
    delete: Sequence[core.Pod]
    ended: Sequence[tuple[str, core.Pod]]
    status: apps.DaemonSetStatus
    again_seconds: float | None


@dataclass(slots=True)
class _Moves:
    create: list[str] = field(default_factory=list)
    delete: list[core.Pod] = field(default_factory=list)
    ended: list[tuple[str, core.Pod]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def decide(daemon_set: apps.DaemonSet, facts: Facts) -> Plan:
    """The next step. An update waits until no node misses a pod or has one too many."""
    nodes = views(daemon_set, facts.nodes, facts.pods)
    pods = Pods(facts.hashes, daemon_set.spec.min_ready_seconds, facts.now)
    moves = _Moves()
    if facts.settled:
        surge = allows_surge(daemon_set)
        for node in nodes:
            _keep(node, moves, facts, pods, surge)
        if not moves.create and not moves.delete and daemon_set.spec.update_strategy.type == ROLLING_UPDATE:
            step = roll(daemon_set, nodes, pods)
            moves.create, moves.delete = list(step.create), list(step.delete)
    delete = moves.delete[: facts.burst]
    going = {pod.metadata.uid for pod in delete}
    waits = [*moves.waits, *_waits(nodes, pods)]
    return Plan(
        moves.create[: facts.burst],
        delete,
        [(node, pod) for node, pod in moves.ended if pod.metadata.uid in going],
        status_of(daemon_set, nodes, pods, settled=facts.settled),
        min(waits) if waits else None,
    )


def _keep(node: NodeView, moves: _Moves, facts: Facts, pods: Pods, surge: bool) -> None:
    """One pod on each node that should have one: what is missing, has ended, or is one too many."""
    live = [pod for pod in node.pods if not is_deleting(pod)]
    if not node.exists:
        # Nobody binds them any more, and so nobody else finds them: those that were bound are of the pod garbage collection.
        moves.delete += [pod for pod in live if not pod.spec.node_name]
    elif node.fit.start and not node.pods:
        moves.create.append(node.name)
    elif not node.fit.stay:
        moves.delete += live
    else:
        running = [pod for pod in live if pod.status.phase not in (FAILED, SUCCEEDED)]
        held = _clear_ended(node, live, moves, facts)
        if surge and not running and node.fit.start:
            # One that still terminates is no reason to wait; one that is left alone for a while is.
            moves.create += [] if held else [node.name]
        elif surge:
            moves.delete += _too_many_in_surge(running, pods)
        else:
            moves.delete += running[1:]


def _clear_ended(node: NodeView, live: Iterable[core.Pod], moves: _Moves, facts: Facts) -> bool:
    """Pods that have ended make room for others; where they fail again and again, more slowly each time. Answers whether one stays."""
    seconds, held = facts.held(node.name), False
    for pod in live:
        if pod.status.phase == FAILED and seconds > 0:
            moves.waits.append(seconds)
            held = True
        elif pod.status.phase in (FAILED, SUCCEEDED):
            moves.delete.append(pod)
            moves.ended.append((node.name, pod))
    return held


def _too_many_in_surge(running: Sequence[core.Pod], pods: Pods) -> Iterator[core.Pod]:
    """All but one of each template, one that is ready first of all; and the old one where it serves no more, or the new one does."""
    ready_first = sorted(running, key=lambda pod: not is_ready(pod))
    new = [pod for pod in ready_first if pods.is_new(pod)]
    old = [pod for pod in ready_first if not pods.is_new(pod)]
    yield from (*new[1:], *old[1:])
    if new and old and (not is_ready(old[0]) or pods.is_available(new[0])):
        yield old[0]


def _waits(nodes: Iterable[NodeView], pods: Pods) -> Iterator[float]:
    for node in nodes:
        for pod in node.pods:
            seconds = seconds_until_available(pod, pods.min_ready_seconds, pods.now)
            if seconds and not is_deleting(pod):
                yield seconds


def status_of(daemon_set: apps.DaemonSet, nodes: Iterable[NodeView], pods: Pods, *, settled: bool) -> apps.DaemonSetStatus:
    """The counts, by the first pod of each node. Of a generation that nothing was done for yet nobody says that it was observed."""
    status = apps.DaemonSetStatus()
    status.CopyFrom(daemon_set.status)
    there = [node for node in nodes if node.exists]
    wanted = [node for node in there if node.fit.start]
    firsts = [node.pods[0] for node in wanted if node.pods]
    ready = [pod for pod in firsts if is_ready(pod)]
    status.desired_number_scheduled = len(wanted)
    status.current_number_scheduled = len(firsts)
    status.number_misscheduled = sum(1 for node in there if node.pods and not node.fit.start)
    status.number_ready = len(ready)
    status.number_available = sum(1 for pod in ready if pods.is_available(pod))
    status.number_unavailable = len(wanted) - status.number_available
    status.updated_number_scheduled = sum(1 for pod in firsts if pods.is_new(pod))
    if settled:
        status.observed_generation = daemon_set.metadata.generation
    return status

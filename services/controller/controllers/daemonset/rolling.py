"""A rolling update of a DaemonSet: which old pods go now, and which nodes get a new one beside the old one.

Either ``maxUnavailable`` old pods go before their nodes get new ones, or (``maxSurge``) as many nodes get a new pod first, and the old one
goes when that is available. Old pods that are not available are replaced at once: nothing is lost by it. What is missing on a node, or too
much, is for the step before this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.int_or_string import scaled_value
from knarr.objects.keys import is_deleting
from services.controller.controllers.daemonset.nodes import NodeView, Pods

ROLLING_UPDATE = "RollingUpdate"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many nodes may have two pods (``surge``), or none that is available (``unavailable``)."""

    surge: int
    unavailable: int


@dataclass(frozen=True, slots=True)
class Step:
    """``delete`` old pods, and ``create`` pods on these nodes."""

    delete: Sequence[core.Pod] = ()
    create: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Pair:
    """The pods of a node that are not being deleted: at most one of the old template and one of the new."""

    node: NodeView
    new: core.Pod | None
    old: core.Pod | None


def limits(daemon_set: apps.DaemonSet, desired: int) -> Limits:
    """Percentages of the nodes that should have a pod; both round up. Both at zero allow one unavailable pod."""
    strategy = daemon_set.spec.update_strategy
    if strategy.type != ROLLING_UPDATE:
        return Limits(0, 0)
    rolling = strategy.rolling_update
    surge = scaled_value(rolling.max_surge, desired, round_up=True)
    unavailable = scaled_value(rolling.max_unavailable, desired, round_up=True)
    return Limits(surge, unavailable if surge or unavailable else 1)


def allows_surge(daemon_set: apps.DaemonSet) -> bool:
    """Whether a node may have two pods for a while."""
    return limits(daemon_set, 1).surge > 0


def roll(daemon_set: apps.DaemonSet, nodes: Sequence[NodeView], pods: Pods) -> Step:
    """The next step; an empty one when there is nothing to do, or nothing more is allowed yet."""
    desired = sum(1 for node in nodes if node.fit.start)
    allowed = limits(daemon_set, desired)
    concerned = [node for node in nodes if node.fit.start or node.pods]
    return _surge(concerned, pods, allowed.surge, desired) if allowed.surge else _replace(concerned, pods, allowed.unavailable)


def _replace(nodes: Iterable[NodeView], pods: Pods, allowed: int) -> Step:
    unavailable, broken, candidates = 0, list[core.Pod](), list[core.Pod]()
    for node in nodes:
        pair = _pair(node, pods)
        if pair is None or (pair.new is None) == (pair.old is None):
            unavailable += 1
        elif pair.new is not None:
            unavailable += not pods.is_available(pair.new)
        elif pair.old is not None and not pods.is_available(pair.old):
            broken.append(pair.old)
            unavailable += 1
        elif pair.old is not None:
            candidates.append(pair.old)
    return Step(delete=[*broken, *candidates[: max(allowed - unavailable, 0)]])


def _surge(nodes: Iterable[NodeView], pods: Pods, allowed: int, desired: int) -> Step:
    surging, available = 0, 0
    replaced, leaving = list[core.Pod](), list[core.Pod]()
    needed, candidates = list[str](), list[str]()
    for node in nodes:
        pair = _pair(node, pods)
        if pair is None:
            surging += 1
            continue
        counted = pair.old if pair.old is not None else pair.new
        available += counted is not None and pods.is_available(counted)
        if pair.old is None:
            continue
        if pair.new is not None:
            if pods.is_available(pair.new):
                replaced.append(pair.old)
            else:
                surging += 1
        elif pods.is_available(pair.old):
            candidates.append(node.name) if node.fit.start else leaving.append(pair.old)
        else:
            needed.append(node.name) if node.fit.start else replaced.append(pair.old)
    # Where pods are to be elsewhere from now on, those that serve go when others do.
    spare = max(available - desired, 0)
    return Step([*replaced, *leaving[:spare]], [*needed, *candidates[: max(allowed - surging, 0)]])


def _pair(node: NodeView, pods: Pods) -> _Pair | None:
    """None where a node has too many of one template."""
    live = [pod for pod in node.pods if not is_deleting(pod)]
    new, old = [pod for pod in live if pods.is_new(pod)], [pod for pod in live if not pods.is_new(pod)]
    if len(new) > 1 or len(old) > 1:
        return None
    return _Pair(node, next(iter(new), None), next(iter(old), None))

"""What would become of pods if a node were drained or added, a pod deleted, or its requests others.

Pure: views of the table are asked, the table is not touched. Pods are placed one after the other, as they would be, those of higher
priority first; each counts for those after it. Nobody is made to go for them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery import quantity
from knarr.machinery.errors import bad_request, not_found, status_error
from knarr.objects.copies import copy_of
from knarr.objects.disruptions import covers
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.owners import controller_of
from knarr.objects.pods import MIRROR
from services.scheduler.decide import decide
from services.scheduler.nodes import Nodes
from services.scheduler.pod_facts import PodFacts
from services.scheduler.state import SchedulerState
from services.scheduler.view import View

# Of pods that wait and nodes that are added: the loop stands still meanwhile.
MOST_WAITING, MOST_NODES = 500, 500
NOT_PREEMPTED = "nobody of lower priority is made to go"
NOT_ASKED = "plugins in other processes and extenders are not asked, and pods that wait for them not judged"
# What is set by conditions of a node, which a new one does not have.
BY_CONDITIONS = "node.kubernetes.io/"


class Fate(Enum):
    PLACED = "placed"
    WAITS = "waits"
    STAYS = "stays"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class PodOutcome:
    """``reason`` is why, in the words of the event where no node takes it."""

    key: Key
    fate: Fate
    source: str = ""
    target: str = ""
    reason: str = ""
    refused_by: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class BudgetOutcome:
    """How many pods a budget lets go now, and which are to."""

    key: Key
    allowed: int
    pods: Sequence[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The pods to which it makes a difference; the budgets that are asked; what the answer leaves out."""

    pods: Sequence[PodOutcome]
    budgets: Sequence[BudgetOutcome] = ()
    limits: Sequence[str] = ()


@dataclass(slots=True)
class Change:
    """A view in which something is otherwise. ``moved`` are to be placed anew, with the nodes that they are on."""

    view: View
    moved: list[tuple[PodFacts, str]] = field(default_factory=list)
    told: list[PodOutcome] = field(default_factory=list)
    evicted: list[PodFacts] = field(default_factory=list)
    # Uids of pods that do not wait any more.
    withdrawn: set[str] = field(default_factory=set)


class WhatIf:
    """Of the moment: good until something changes. ``waiting`` are the pods that are to be placed, ``budgets`` all there are."""

    def __init__(
        self, state: SchedulerState, waiting: Sequence[PodFacts], budgets: Sequence[policy.PodDisruptionBudget], *, extended: bool = False
    ) -> None:
        """``extended``: whether there are extenders."""
        self._state, self._budgets, self._extended = state, budgets, extended
        promised = [pod for pod in waiting if state.nominations.node_of(pod.uid)]
        left = [pod for pod in waiting if not state.nominations.node_of(pod.uid)]
        self._promised, self._waiting = promised, left[:MOST_WAITING]
        self._omitted = len(left) - len(self._waiting)

    def drained(self, name: str) -> Outcome:
        """Raises NotFound."""
        change = Change(self._view())
        node = copy_of(self._node(name))
        node.spec.unschedulable = True
        change.view.put_node(node)
        for pod in list(change.view.pods_of(name).values()):
            self._evict(change, pod, name)
        return self._outcome(change)

    def deleted(self, key: Key) -> Outcome:
        """Raises NotFound."""
        change = Change(self._view())
        pod, name = self._pod(key)
        if name:
            change.view.remove_pod(pod.uid)
        change.withdrawn.add(pod.uid)
        if controller_of(pod.pod) is None:
            change.told.append(PodOutcome(key, Fate.GONE, name, reason="no controller makes it anew"))
        else:
            change.moved.append((_unplaced(pod), name))
        return self._outcome(change)

    def requested(self, key: Key, container: str, requests: Mapping[str, str]) -> Outcome:
        """Raises NotFound, BadRequest."""
        change = Change(self._view())
        pod, name = self._pod(key)
        changed = copy_of(pod.pod)
        _set_requests(changed, container, requests)
        change.view.remove_pod(pod.uid)
        change.withdrawn.add(pod.uid)
        change.moved.append((_unplaced(PodFacts.of(changed)), name))
        return self._outcome(change)

    def added(self, given: core.Node | None, like: str, count: int) -> Outcome:
        """Raises NotFound, BadRequest."""
        return self._outcome(Change(self._with_more(given, like, count)))

    def left_waiting(self, like: str, count: int) -> int:
        """How many of the pods that wait (of the first ``MOST_WAITING``) would still do so with more nodes. Raises NotFound, BadRequest."""
        placed = self._placed(self._with_more(None, like, count), [(pod, "") for pod in self._waiting])
        return sum(one.fate is Fate.WAITS for one in placed.values())

    def _with_more(self, given: core.Node | None, like: str, count: int) -> View:
        if count > MOST_NODES:
            raise bad_request(f"count: {count} are more than {MOST_NODES}")
        view = self._view()
        for number in range(max(count, 1)):
            view.put_node(self._new_node(given, like, number if count > 1 else None))
        return view

    def _view(self) -> View:
        """The nodes as they are, with promised pods where they were promised to be."""
        return View(self._state.table, ((pod, self._state.nominations.node_of(pod.uid)) for pod in self._promised))

    def _evict(self, change: Change, pod: PodFacts, name: str) -> None:
        owner = controller_of(pod.pod)
        stays = "its DaemonSet keeps it there" if owner is not None and owner.kind == "DaemonSet" else ""
        stays = "it is the node's own" if MIRROR in pod.pod.metadata.annotations else stays
        if stays:
            change.told.append(PodOutcome(pod.key, Fate.STAYS, name, reason=stays))
            return
        change.view.remove_pod(pod.uid)
        if not is_deleting(pod.pod) and self._state.table.node_of(pod.uid):
            change.evicted.append(pod)
        if owner is None and self._state.table.node_of(pod.uid):
            change.told.append(PodOutcome(pod.key, Fate.GONE, name, reason="no controller makes it anew"))
        else:
            change.moved.append((_unplaced(pod), name))

    def _outcome(self, change: Change) -> Outcome:
        before = self._placed(self._view(), [(pod, "") for pod in self._waiting])
        waiting = [(pod, "") for pod in self._waiting if pod.uid not in change.withdrawn]
        after = self._placed(change.view, [*change.moved, *waiting])
        moved = {pod.uid for pod, _ in change.moved}
        told = [one for uid, one in after.items() if uid in moved or _is_news(before.get(uid), one)]
        limits = [NOT_PREEMPTED, *([NOT_ASKED] if self._asks else [])]
        if self._omitted:
            limits.append(f"{self._omitted} more pods that wait are not judged")
        return Outcome([*change.told, *told], self._asked_budgets(change.evicted), limits)

    @property
    def _asks(self) -> bool:
        return self._extended or any(profile.asks for profile in self._state.profiles.values())

    def _placed(self, nodes: View, pods: Iterable[tuple[PodFacts, str]]) -> Mapping[str, PodOutcome]:
        """By uid, in the order in which they are placed."""
        source, found = random.Random(0), dict[str, PodOutcome]()
        for pod, left in sorted(pods, key=lambda pair: (-pair[0].priority, pair[0].pod.metadata.creation_timestamp.seconds, pair[0].key)):
            decision = decide(nodes, self._state.judging_profile(pod.pod), pod, source)
            if decision.node:
                nodes.put_pod(pod, decision.node)
                found[pod.uid] = PodOutcome(pod.key, Fate.PLACED, left, decision.node)
            else:
                found[pod.uid] = PodOutcome(pod.key, Fate.WAITS, left, "", decision.summary, decision.refused_by)
        return found

    def _asked_budgets(self, evicted: Sequence[PodFacts]) -> Sequence[BudgetOutcome]:
        found = []
        for budget in self._budgets:
            key = key_of(budget)
            held = [pod.key.name for pod in evicted if pod.key.namespace == key.namespace and covers(budget, pod.pod)]
            if held:
                found.append(BudgetOutcome(key, budget.status.disruptions_allowed, sorted(held)))
        return found

    def _node(self, name: str) -> core.Node:
        table: Nodes = self._state.table
        if name not in table.rows:
            raise not_found("nodes", name)
        return table.node(table.rows[name])

    def _pod(self, key: Key) -> tuple[PodFacts, str]:
        table = self._state.table
        for pod in (*self._promised, *self._waiting):
            if pod.key == key:
                return pod, ""
        for name in table.rows:
            for pod in table.pods_of(name).values():
                if pod.key == key:
                    return pod, name
        raise status_error("NotFound", f'pods "{key.name}" in namespace "{key.namespace}" neither wait here nor are on a node')

    def _new_node(self, given: core.Node | None, like: str, number: int | None) -> core.Node:
        if (given is None) == (not like):
            raise bad_request("add_node: either node or like must be given")
        node = core.Node()
        node.CopyFrom(given if given is not None else self._node(like))
        if not node.metadata.name:
            raise bad_request("add_node.node.metadata.name: Required value")
        base = node.metadata.name if given is not None else f"like-{like}"
        name = base if number is None else f"{base}-{number}"
        if name in self._state.table.rows:
            raise bad_request(f'add_node.node.metadata.name: there is a node "{name}" already')
        node.metadata.name = node.metadata.labels["kubernetes.io/hostname"] = name
        if given is None:
            kept = [taint for taint in node.spec.taints if not taint.key.startswith(BY_CONDITIONS)]
            del node.spec.taints[:]
            node.spec.taints.extend(kept)
            node.spec.unschedulable = False
        return node


def _is_news(before: PodOutcome | None, after: PodOutcome) -> bool:
    return before is not None and before.fate is not after.fate


def _unplaced(pod: PodFacts) -> PodFacts:
    """As its controller would make it anew."""
    fresh = copy_of(pod.pod)
    fresh.spec.node_name = ""
    fresh.metadata.ClearField("deletion_timestamp")
    return PodFacts.of(fresh)


def _set_requests(pod: core.Pod, name: str, requests: Mapping[str, str]) -> None:
    containers = [one for one in pod.spec.containers if not name or one.name == name]
    if len(containers) != 1:
        names = ", ".join(one.name for one in pod.spec.containers)
        words = f'the pod has no container "{name}"; it has {names}' if name else f"must be one of {names}"
        raise bad_request(f"set_requests.container: {words}")
    found = containers[0].resources.requests
    for resource, text in requests.items():
        if not text:
            found.pop(resource, None)
            continue
        try:
            negative = quantity.parse(text) < 0
        except ValueError as error:
            raise bad_request(f"set_requests.requests[{resource}]: {error}") from None
        if negative:
            raise bad_request(f"set_requests.requests[{resource}]: must be greater than or equal to 0")
        found[resource].string = text

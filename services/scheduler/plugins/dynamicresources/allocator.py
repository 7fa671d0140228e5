"""What nodes have for the claims of pods. What was found for a node is remembered by what was asked for, and holds until something
changes that the node reaches."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as resource
from services.scheduler.plugin import Cluster
from services.scheduler.plugins.dynamicresources.claims import Claims, is_there
from services.scheduler.plugins.dynamicresources.inventory import Inventory
from services.scheduler.plugins.dynamicresources.results import allocation
from services.scheduler.plugins.dynamicresources.search import TIMED_OUT, Effort, Failed, Given, Search
from services.scheduler.plugins.dynamicresources.wishes import Wish

NOT_THERE = "resourceclaim not available on the node"
# Steps of the search, each some microseconds: of one node, and of one decision together, for nothing else is decided meanwhile.
NODE_STEPS, DECISION_STEPS = 20_000, 100_000
# So many different wishes are remembered.
WISHES = 64

# Of each claim the devices, or why there are none.
Outcome = Sequence[Sequence[Given]] | str


@dataclass(frozen=True, slots=True)
class _Known:
    node: Any
    stamp: int
    outcome: Outcome


class Allocator:
    """``seconds``: how long devices are looked for on a node; 0: up to the steps of a search."""

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        self._cluster, self._seconds = cluster, seconds
        self._inventory = Inventory()
        self._answers: OrderedDict[tuple[Wish, ...], dict[str, _Known]] = OrderedDict()

    def judge(self, claims: Claims) -> Callable[[Any], Outcome]:
        """What a node has for the claims of a pod. Good for one decision."""
        if claims.wishes:
            kinds = (resource.ResourceSlice, resource.DeviceTaintRule, resource.ResourceClaim)
            self._inventory.refresh(*(self._cluster.list(kind) for kind in kinds))
        wishes = tuple(claims.wishes)
        known = self._answers.setdefault(wishes, {})
        self._answers.move_to_end(wishes)
        if len(self._answers) > WISHES:
            self._answers.popitem(last=False)
        whole = Effort(DECISION_STEPS)

        def judge(node: Any) -> Outcome:
            if not all(is_there(claim, node) for claim in claims.allocated):
                return NOT_THERE
            return self._found(wishes, node, known, whole) if wishes else ()

        return judge

    def allocations(self, claims: Claims, found: Sequence[Sequence[Given]], node: str) -> Iterable[resource.AllocationResult]:
        """What is written into the claims that wait, in their order."""
        for claim, devices in zip(claims.pending, found, strict=True):
            names = {one.alternative.device_class for one in devices}
            classes = {name: self._cluster.get(resource.DeviceClass, "", name) or resource.DeviceClass() for name in names}
            yield allocation(claim, devices, classes, node)

    def _found(self, wishes: Sequence[Wish], node: Any, known: dict[str, _Known], whole: Effort) -> Outcome:
        name = node.metadata.name
        stamp, before = self._inventory.stamp(name), known.get(name)
        if before is not None and before.stamp == stamp and (before.node is node or before.node.metadata.labels == node.metadata.labels):
            return before.outcome
        if whole.steps <= 0:
            return TIMED_OUT
        effort = Effort(min(NODE_STEPS, whole.steps), self._in_time())
        outcome: Outcome
        try:
            outcome = Search(self._inventory, self._inventory.pools(node), wishes, effort).run()
        except Failed as error:
            outcome = str(error)
        spent = min(NODE_STEPS, whole.steps) - effort.steps
        whole.steps -= spent
        if outcome != TIMED_OUT or spent >= NODE_STEPS:
            known[name] = _Known(node, stamp, outcome)
        return outcome

    def _in_time(self) -> Callable[[], bool]:
        if not self._seconds:
            return lambda: True
        until = time.monotonic() + self._seconds
        return lambda: time.monotonic() < until

"""All devices that there are, and which of them are had: kept in step with slices, rules on taints, and claims.

Whatever is asked for is looked at anew only where something changed: objects are compared by identity, for a changed one is another one.
Each node has a stamp that grows with each change of what it reaches, so that whoever remembers an answer for it knows whether it holds.
"""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from knarr.machinery import quantity
from knarr.machinery.device_attributes import qualified
from knarr.objects.devices import taints_device
from knarr.objects.node_selection import matches_selector
from services.scheduler.plugins.dynamicresources.devices import CounterId, Device, DeviceId, Pool, PoolId

BUSY, INVALID = "is currently being updated", "is currently invalid"
# What a device of an allocation is, whether it is shared, and what is taken of it.
_Had = tuple[DeviceId, bool, tuple[tuple[str, Decimal], ...]]


@dataclass(slots=True, eq=False)
class _Slice:
    message: Any
    devices: Sequence[Device]

    @property
    def node(self) -> str:
        return str(self.message.spec.node_name)


@dataclass(slots=True, eq=False)
class _Slices:
    """Those of a pool's newest generation, by name."""

    slices: Sequence[_Slice] = ()
    trouble: str = ""
    counters: Mapping[CounterId, Decimal] = field(default_factory=dict)
    # The one node that reaches it; empty where there may be several.
    node: str = ""


class Inventory:
    def __init__(self) -> None:
        # By the identity of the objects, which are kept here.
        self._slices: dict[int, _Slice] = {}
        self._rules: tuple[Any, ...] = ()
        self._pools: dict[PoolId, _Slices] = {}
        self._of_node: dict[str, set[PoolId]] = {}
        self._anywhere: set[PoolId] = set()
        self._claims: dict[int, tuple[Any, tuple[_Had, ...]]] = {}
        # How often a device is had as a whole, and how often a part of it.
        self.taken: Counter[DeviceId] = Counter()
        self.parts: Counter[DeviceId] = Counter()
        self.consumed: dict[DeviceId, dict[str, Decimal]] = {}
        self._stamps: defaultdict[str, int] = defaultdict(int)
        self._shared_stamp = 0
        self._reached: dict[str, tuple[Any, int, Sequence[Pool]]] = {}

    def stamp(self, node: str) -> int:
        """Grows with whatever changes for a node; what is true of its labels apart."""
        return self._stamps[node] + self._shared_stamp

    def refresh(self, slices: Iterable[Any], rules: Iterable[Any], claims: Iterable[Any]) -> None:
        """Takes in what there is now."""
        self._take_slices({id(one): one for one in slices}, anew=self._take_rules(tuple(rules)))
        self._take_claims({id(one): one for one in claims})

    def pools(self, node: Any) -> Sequence[Pool]:
        """What a node reaches, the pools by name; those last whose devices must be made ready first."""
        name, stamp = node.metadata.name, self.stamp(node.metadata.name)
        known = self._reached.get(name)
        if known is not None and known[1] == stamp and (known[0] is node or known[0].metadata.labels == node.metadata.labels):
            return known[2]
        names = sorted(self._of_node.get(name, set()) | self._anywhere)
        found = [pool for pool in (self._pool(one, node) for one in names) if pool is not None]
        found.sort(key=lambda pool: any(device.binds for device in pool.devices))
        self._reached[name] = (node, stamp, found)
        return found

    # Slices.

    def _take_rules(self, given: tuple[Any, ...]) -> bool:
        """Whether they are others than before."""
        if len(given) == len(self._rules) and all(map(operator.is_, given, self._rules)):
            return False
        self._rules = given
        return True

    def _take_slices(self, given: Mapping[int, Any], *, anew: bool) -> None:
        changed: set[PoolId] = set()
        for key in list(self._slices) if anew else self._slices.keys() - given.keys():
            changed.add(_pool_of(self._slices.pop(key).message))
        for key in given.keys() - self._slices.keys():
            self._slices[key] = self._read(given[key])
            changed.add(_pool_of(given[key]))
        if not changed:
            return
        by_pool = defaultdict[PoolId, list[_Slice]](list)
        for one in self._slices.values():
            by_pool[_pool_of(one.message)].append(one)
        for pool in changed:
            self._put_pool(pool, by_pool.get(pool, []))

    def _put_pool(self, name: PoolId, slices: Sequence[_Slice]) -> None:
        before = self._pools.pop(name, None)
        if before is not None:
            self._touch(before)
            self._anywhere.discard(name)
            self._of_node.get(before.node, set()).discard(name)
        if not slices:
            return
        now = self._pools[name] = _newest(slices)
        if now.node:
            self._of_node.setdefault(now.node, set()).add(name)
        else:
            self._anywhere.add(name)
        self._touch(now)

    def _touch(self, pool: _Slices | None) -> None:
        if pool is not None and pool.node:
            self._stamps[pool.node] += 1
        else:
            self._shared_stamp += 1

    def _read(self, message: Any) -> _Slice:
        return _Slice(message, [Device.of(found, message, self._added(message, found.name)) for found in message.spec.devices])

    def _added(self, message: Any, device: str) -> list[tuple[str, str, str]]:
        """The taints that rules give a device."""
        if not self._rules:
            return []
        spec = message.spec
        taints = (rule.spec.taint for rule in self._rules if taints_device(rule, spec.driver, spec.pool.name, device))
        return [(taint.key, taint.value, taint.effect) for taint in taints]

    # Claims.

    def _take_claims(self, given: Mapping[int, Any]) -> None:
        for key in self._claims.keys() - given.keys():
            for had in self._claims.pop(key)[1]:
                self._count(had, -1)
        for key in given.keys() - self._claims.keys():
            found = tuple(_had(given[key]))
            self._claims[key] = (given[key], found)
            for had in found:
                self._count(had, 1)

    def _count(self, had: _Had, sign: int) -> None:
        device, shared, amounts = had
        counted = self.parts if shared else self.taken
        counted[device] += sign
        if not counted[device]:
            del counted[device]
        if shared:
            consumed = self.consumed.setdefault(device, {})
            for name, amount in amounts:
                consumed[name] = consumed.get(name, Decimal(0)) + sign * amount
        self._touch(self._pools.get(device[:2]))

    # As a node sees it.

    def _pool(self, name: PoolId, node: Any) -> Pool | None:
        """None where the node reaches nothing of it."""
        known = self._pools[name]
        mine, others = list[Device](), list[Device]()
        for one in known.slices:
            for device in one.devices:
                (mine if _reaches(one.message.spec, device.message, node) else others).append(device)
        if not mine:
            return None
        trouble = known.trouble or _twice(mine) or _unknown_counter((*mine, *others), known.counters)
        if trouble:
            return Pool(name, trouble=trouble)
        left = dict(known.counters)
        for device in (*mine, *others) if left else ():
            if self.taken[device.id] or self.parts[device.id]:
                for counter, amount in device.counters.items():
                    left[counter] -= amount
        return Pool(name, mine, left=left)


def _pool_of(message: Any) -> PoolId:
    return message.spec.driver, message.spec.pool.name


def _newest(slices: Sequence[_Slice]) -> _Slices:
    generation = max(one.message.spec.pool.generation for one in slices)
    newest = sorted(
        (one for one in slices if one.message.spec.pool.generation == generation), key=lambda one: str(one.message.metadata.name)
    )
    counters: dict[CounterId, Decimal] = {}
    trouble = "" if len(newest) == newest[0].message.spec.pool.resource_slice_count else BUSY
    names = set[str]()
    for one in newest:
        for counter_set in one.message.spec.shared_counters:
            trouble = INVALID if counter_set.name in names and not trouble else trouble
            names.add(counter_set.name)
            for name, counter in counter_set.counters.items():
                counters[counter_set.name, name] = quantity.parse(counter.value.string)
    nodes = {one.node for one in newest}
    return _Slices(newest, trouble, counters, nodes.pop() if len(nodes) == 1 else "")


def _reaches(spec: Any, device: Any, node: Any) -> bool:
    """Whether a node reaches a device: by its own word where its slice says so, else by the slice's."""
    said = device if spec.per_device_node_selection else spec
    if said.node_name:
        return bool(said.node_name == node.metadata.name)
    return bool(said.all_nodes) or (said.HasField("node_selector") and matches_selector(said.node_selector, node))


def _twice(devices: Iterable[Device]) -> str:
    names = [device.id for device in devices]
    return INVALID if len(set(names)) < len(names) else ""


def _unknown_counter(devices: Iterable[Device], counters: Mapping[CounterId, Decimal]) -> str:
    return INVALID if any(counter not in counters for device in devices for counter in device.counters) else ""


def _had(claim: Any) -> Iterator[_Had]:
    if not claim.status.HasField("allocation"):
        return
    for result in claim.status.allocation.devices.results:
        # Who only looks at a device keeps nobody from it.
        if result.admin_access:
            continue
        amounts = tuple(
            ("/".join(qualified(name, result.driver)), quantity.parse(amount.string)) for name, amount in result.consumed_capacity.items()
        )
        yield (result.driver, result.pool, result.device), bool(result.share_id), amounts

"""The search for devices on one node: claim by claim, request by request, device by device, back where it cannot go on. Pure.

The first that will do is taken, in the order of pools, slices and devices, as Kubernetes' allocator does it. Devices of one request are
taken in their order only: another order of the same devices is no other answer. So it finds an allocation if there is one; how many steps
it may take is limited.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.devices import MOST_DEVICES, keeps_off
from services.scheduler.plugins.dynamicresources.capacities import Amounts, consumption
from services.scheduler.plugins.dynamicresources.devices import Device, DeviceId, Pool, Unselectable
from services.scheduler.plugins.dynamicresources.inventory import BUSY, Inventory
from services.scheduler.plugins.dynamicresources.wishes import Alternative, Constraint, Wish

NOT_ALL = "cannot allocate all claims"
TIMED_OUT = "timed out trying to allocate devices"
# All claims of a pod together: what it takes on the stack is a multiple of it.
MOST_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Given:
    """A device for a request; ``consumed`` is what is taken of one that is shared."""

    alternative: Alternative
    device: Device
    consumed: Amounts | None = None


class Failed(Exception):
    """Nothing is found on the node: the words of the event."""


class Effort:
    """How many steps are left; ``ticks`` is asked now and then whether there is time."""

    def __init__(self, steps: int, ticks: Callable[[], bool] = lambda: True) -> None:
        self.steps, self._ticks = steps, ticks

    def spend(self) -> None:
        """Raises Failed."""
        self.steps -= 1
        if self.steps < 0 or (not self.steps % 256 and not self._ticks()):
            raise Failed(TIMED_OUT)


@dataclass(slots=True)
class _State:
    """What the search has taken so far."""

    results: list[list[Given]]
    values: list[list[list[tuple[str, Any]]]]
    # In which claims a device is, and which have an owner: who only looks at one is none.
    users: set[tuple[DeviceId, int]] = field(default_factory=set)
    owned: set[DeviceId] = field(default_factory=set)
    parts: Counter[DeviceId] = field(default_factory=Counter)
    consumed: defaultdict[tuple[DeviceId, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    counters: defaultdict[tuple[str, str, str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))


class Candidates:
    """Devices that are looked for as far as they are needed, in their order."""

    def __init__(self, found: Iterator[tuple[Device, Amounts]]) -> None:
        self.known: list[tuple[Device, Amounts]] = []
        self._rest = found

    def has(self, index: int) -> bool:
        """Whether there is one at a place. Raises Unselectable."""
        while len(self.known) <= index:
            one = next(self._rest, None)
            if one is None:
                return False
            self.known.append(one)
        return True


class Search:
    def __init__(self, inventory: Inventory, pools: Sequence[Pool], wishes: Sequence[Wish], effort: Effort) -> None:
        self._inventory, self._pools, self._wishes, self._effort = inventory, pools, wishes, effort
        self._by_id = {pool.id: pool for pool in pools}
        self._candidates: dict[Alternative, Sequence[tuple[Device, Amounts]]] = {}
        self._free: dict[Alternative, Candidates] = {}
        self._state = _State([[] for _ in wishes], [[[] for _ in wish.constraints] for wish in wishes])

    def run(self) -> Sequence[Sequence[Given]]:
        """Of each claim the devices. Raises Failed."""
        try:
            self._check_size()
            found = self._request(0, 0)
        except Unselectable as error:
            raise Failed(str(error)) from None
        if not found:
            broken = any(pool.trouble and pool.trouble != BUSY for pool in self._pools)
            raise Failed("invalid resource pools were encountered" if broken else NOT_ALL)
        return self._state.results

    def _check_size(self) -> None:
        total = 0
        for wish in self._wishes:
            least = sum(min(self._count(one) for one in alternatives) for alternatives in wish.requests)
            if least > MOST_DEVICES:
                raise Failed(f"number of requested devices {least} exceeds the claim limit of {MOST_DEVICES}")
            total += least
        if total > MOST_TOGETHER:
            raise Failed(f"number of requested devices {total} exceeds the limit of {MOST_TOGETHER} for a pod")

    def _count(self, wanted: Alternative) -> int:
        return len(self._all(wanted)) if wanted.count is None else wanted.count

    # What may be had at all, whatever else is taken.

    def _all(self, wanted: Alternative) -> Sequence[tuple[Device, Amounts]]:
        """Every device that suits, had or not. Raises Failed where not all of them are known."""
        if (known := self._candidates.get(wanted)) is not None:
            return known
        for pool in self._pools:
            if pool.trouble:
                raise Failed(f"request {wanted.name}: asks for all devices, but resource pool {'/'.join(pool.id)} {pool.trouble}")
        found = self._candidates[wanted] = list(self._suiting(wanted, lambda *_: True))
        return found

    def _some(self, wanted: Alternative) -> Candidates:
        """The devices that suit and can be had."""
        if (known := self._free.get(wanted)) is None:
            known = self._free[wanted] = Candidates(self._suiting(wanted, self._is_free))
        return known

    def _suiting(self, wanted: Alternative, will_do: Callable[[Alternative, Device], bool]) -> Iterator[tuple[Device, Amounts]]:
        """Each when it is asked for: the first of many is often enough, and selectors are what takes long."""
        asked = dict(wanted.capacity)
        for pool in self._pools:
            for device in pool.devices:
                if will_do(wanted, device) and device.suits(wanted):
                    taken = consumption(device.capacity, asked, device.id[0])
                    if taken is not None:
                        yield device, taken

    def _is_free(self, wanted: Alternative, device: Device) -> bool:
        """Nobody has it, and its taints are tolerated."""
        if not wanted.admin and self._inventory.taken[device.id]:
            return False
        if not device.taints:
            return True
        tolerations = (resource.DeviceToleration(key=k, operator=o, value=v, effect=e) for k, o, v, e in wanted.tolerations)
        return not keeps_off((resource.DeviceTaint(key=k, value=v, effect=e) for k, v, e in device.taints), tolerations)

    # The search itself.

    def _request(self, claim: int, at: int) -> bool:
        if claim == len(self._wishes):
            return True
        requests = self._wishes[claim].requests
        if at == len(requests):
            return self._request(claim + 1, 0)
        return any(self._alternative(claim, at, wanted) for wanted in requests[at])

    def _alternative(self, claim: int, at: int, wanted: Alternative) -> bool:
        if wanted.count is None:
            every = self._all(wanted)
            return bool(every) and self._every(claim, at, wanted, every)
        return self._devices(claim, at, wanted, wanted.count, 0)

    def _every(self, claim: int, at: int, wanted: Alternative, every: Sequence[tuple[Device, Amounts]]) -> bool:
        """All of them, or none."""
        if len(self._state.results[claim]) + len(every) > MOST_DEVICES:
            return False
        given: list[Given] = []
        for device, taken in every:
            self._effort.spend()
            one = self._take(claim, wanted, device, taken) if self._is_free(wanted, device) else None
            if one is None:
                break
            given.append(one)
        else:
            if self._request(claim, at + 1):
                return True
        for one in reversed(given):
            self._give_back(claim, one)
        return False

    def _devices(self, claim: int, at: int, wanted: Alternative, missing: int, start: int) -> bool:
        self._effort.spend()
        if not missing:
            return self._request(claim, at + 1)
        if len(self._state.results[claim]) + missing > MOST_DEVICES:
            return False
        some, index = self._some(wanted), start
        known = some.known
        while index + missing <= len(known) or some.has(index + missing - 1):
            one = self._take(claim, wanted, *known[index])
            index += 1
            if one is None:
                continue
            if self._devices(claim, at, wanted, missing - 1, index):
                return True
            self._give_back(claim, one)
        return False

    # One device.

    def _take(self, claim: int, wanted: Alternative, device: Device, taken: Amounts) -> Given | None:
        """None where what was taken before leaves it not."""
        state = self._state
        if (device.id, claim) in state.users or (not wanted.admin and device.id in state.owned):
            return None
        consumed = taken if device.shared and not wanted.admin else None
        if consumed is not None and not self._has_room(device, consumed):
            return None
        # Who only looks at a device uses nothing of it.
        if not wanted.admin and not self._has_counters(device):
            return None
        if not self._keeps_constraints(claim, wanted, device):
            return None
        given = Given(wanted, device, consumed)
        self._count_in(claim, given, 1)
        for kept, constraint in zip(state.values[claim], self._wishes[claim].constraints, strict=True):
            if wanted.is_named_in(constraint.requests):
                kept.append(device.attributes[constraint.attribute])
        state.results[claim].append(given)
        return given

    def _give_back(self, claim: int, given: Given) -> None:
        self._state.results[claim].pop()
        for kept, constraint in zip(self._state.values[claim], self._wishes[claim].constraints, strict=True):
            if given.alternative.is_named_in(constraint.requests):
                kept.pop()
        self._count_in(claim, given, -1)

    def _count_in(self, claim: int, given: Given, sign: int) -> None:
        state, device = self._state, given.device
        # A device that others have a part of uses its counters already.
        others = device.shared and (self._inventory.parts[device.id] or state.parts[device.id] > (sign < 0))
        if device.counters and not given.alternative.admin and not others:
            for counter, amount in device.counters.items():
                state.counters[(*device.id[:2], *counter)] += sign * amount
        if not device.shared:
            keep = set.add if sign > 0 else set.discard
            keep(state.users, (device.id, claim))
            if not given.alternative.admin:
                keep(state.owned, device.id)
        elif given.consumed is not None:
            state.parts[device.id] += sign
            for name, amount in given.consumed.items():
                state.consumed[device.id, name] += sign * amount

    def _has_room(self, device: Device, consumed: Amounts) -> bool:
        had: Mapping[str, Decimal] = self._inventory.consumed.get(device.id, {})
        taken = self._state.consumed
        return all(
            had.get(name, Decimal(0)) + taken.get((device.id, name), Decimal(0)) + amount <= device.capacity[name].value
            for name, amount in consumed.items()
        )

    def _has_counters(self, device: Device) -> bool:
        if not device.counters or (device.shared and (self._inventory.parts[device.id] or self._state.parts[device.id])):
            return True
        left, taken = self._by_id[device.id[:2]].left, self._state.counters
        return all(
            taken.get((*device.id[:2], *counter), Decimal(0)) + amount <= left[counter] for counter, amount in device.counters.items()
        )

    def _keeps_constraints(self, claim: int, wanted: Alternative, device: Device) -> bool:
        return all(
            not wanted.is_named_in(constraint.requests) or _agrees(constraint, device, kept)
            for constraint, kept in zip(self._wishes[claim].constraints, self._state.values[claim], strict=True)
        )


def _agrees(constraint: Constraint, device: Device, kept: Sequence[tuple[str, Any]]) -> bool:
    value = device.attributes.get(constraint.attribute)
    if value is None:
        return False
    if constraint.distinct:
        return value not in kept
    return not kept or kept[0] == value

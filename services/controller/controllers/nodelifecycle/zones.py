"""Zones of nodes: how many of each are ready, what that makes of the zone, and how fast its nodes may lose their pods.

A node that alone is not ready has failed. Where many of a zone, or all there are, fail at once, it is rather the network or the control
plane that did, and moving their pods elsewhere makes it worse. So nodes lose their pods one after the other, slower in a zone where many
are not ready, and none does while no node of any zone is ready.

What is known of a node is noted when it changes; ``settle`` then draws the conclusions of all that was noted since. So a list of all
nodes is one step, however it is heard, and a heartbeat costs a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from services.controller.controllers.nodelifecycle.turns import Turns
from services.controller.settings import EvictionRates

# Fewer that are not ready are no disruption of a zone, whatever their share.
FEWEST_DISRUPTED = 3


class Zone(NamedTuple):
    """Both are empty for nodes that do not say where they are."""

    region: str
    zone: str


class ZoneState(StrEnum):
    """Kubernetes' names."""

    INITIAL = "Initial"
    NORMAL = "Normal"
    PARTIAL_DISRUPTION = "PartialDisruption"
    FULL_DISRUPTION = "FullDisruption"


class Standing(NamedTuple):
    """What of a node matters to its zone.

    ``counts``: whether it is one of the nodes that are counted. ``fails``: whether its pods are to leave by its condition; one that has
    none yet is not ready, and does not fail. ``tainted``: whether it has the taint for that.
    """

    zone: Zone
    ready: bool
    counts: bool
    fails: bool
    tainted: bool

    @property
    def waits(self) -> bool:
        return self.fails and not self.tainted


class Count(NamedTuple):
    """Of nodes; those that fail are some of those that are not ready."""

    ready: int = 0
    not_ready: int = 0
    failing: int = 0

    @property
    def size(self) -> int:
        return self.ready + self.not_ready

    def plus(self, one: Standing, times: int) -> Count:
        if not one.counts:
            return self
        return Count(self.ready + times * one.ready, self.not_ready + times * (not one.ready), self.failing + times * one.fails)


class Change(NamedTuple):
    """What became of a zone; ``per_second`` of its nodes may lose their pods from now on."""

    zone: Zone
    before: ZoneState
    after: ZoneState
    nodes: Count
    per_second: float


@dataclass(frozen=True, slots=True)
class Settled:
    """``counts`` of the zones that were noted to change, nothing for those that are gone; ``changes`` of their states; ``stopped`` where
    evictions stop everywhere (True) or go on (False); ``first``: what was found, not what happened."""

    counts: Mapping[Zone, Count] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    stopped: bool | None = None
    first: bool = False


@dataclass(slots=True)
class _Known:
    """``members`` are all its nodes, those that do not count as well."""

    turns: Turns
    members: int = 0
    count: Count = field(default_factory=Count)
    state: ZoneState = ZoneState.INITIAL


def state_of(count: Count, rates: EvictionRates) -> ZoneState:
    if count.not_ready and not count.ready:
        return ZoneState.FULL_DISRUPTION
    if count.not_ready >= FEWEST_DISRUPTED and count.not_ready / count.size >= rates.unhealthy_share:
        return ZoneState.PARTIAL_DISRUPTION
    return ZoneState.NORMAL


def rate_of(state: ZoneState, size: int, rates: EvictionRates) -> float:
    """Nodes a second. One zone that is down as a whole is emptied like any other: the rest of the cluster is there for its pods."""
    if state is not ZoneState.PARTIAL_DISRUPTION:
        return rates.per_second
    return rates.disrupted_per_second if size > rates.large_zone else 0.0


class Zones:
    """``wake`` is called with the name of each node that is to be looked at again; times are of a clock that never goes back."""

    def __init__(self, rates: EvictionRates, wake: Callable[[str], None]) -> None:
        self._rates, self._wake = rates, wake
        self._nodes: dict[str, Standing] = {}
        self._zones: dict[Zone, _Known] = {}
        self._all = Count()
        self._changed: set[Zone] = set()
        self._first = True
        self._stopped = False

    @property
    def all(self) -> Count:
        """Of all zones."""
        return self._all

    def note(self, name: str, standing: Standing | None, now: float) -> None:
        """How a node is now; None when there is none of that name."""
        before = self._nodes.get(name)
        if standing == before:
            return
        if before is not None:
            del self._nodes[name]
            self._count(before, -1)
            if standing is None or not standing.waits or standing.zone != before.zone:
                self._zones[before.zone].turns.leave(name)
        if standing is not None:
            self._nodes[name] = standing
            if standing.zone not in self._zones:
                self._zones[standing.zone] = _Known(Turns(self._rates.per_second, now, self._wake))
            self._count(standing, 1)

    def settle(self, now: float) -> Settled:
        """What became of the zones by all that was noted since the last time."""
        if not self._changed:
            return Settled()
        changed, self._changed = self._changed, set()
        first, self._first = self._first, False
        before, self._stopped = self._stopped, bool(self._all.size) and not self._all.ready
        flips = self._stopped != before
        changes = [change for zone in (list(self._zones) if flips else changed) if (change := self._settle_zone(zone, now)) is not None]
        if flips:
            for name in self._nodes:
                self._wake(name)
        counts = {zone: known.count if (known := self._zones.get(zone)) else Count() for zone in changed}
        return Settled(counts, tuple(changes), self._stopped if flips else None, first)

    def wait_seconds(self, name: str, now: float) -> float:
        """Until the node may have the taint that its pods leave for; 0: it may; infinite where that cannot be told."""
        standing = self._nodes.get(name)
        if self._stopped or standing is None:
            return math.inf
        return self._zones[standing.zone].turns.wait_seconds(name, now) if standing.waits else 0.0

    def _count(self, standing: Standing, times: int) -> None:
        known = self._zones[standing.zone]
        known.members += times
        known.count = known.count.plus(standing, times)
        self._all = self._all.plus(standing, times)
        self._changed.add(standing.zone)

    def _settle_zone(self, zone: Zone, now: float) -> Change | None:
        known = self._zones[zone]
        if not known.members:
            del self._zones[zone]
            return None
        before, known.state = known.state, state_of(known.count, self._rates)
        rate = 0.0 if self._stopped else rate_of(known.state, known.count.size, self._rates)
        if self._stopped:
            known.turns.clear()
        known.turns.set_rate(rate, now)
        return Change(zone, before, known.state, known.count, rate) if known.state is not before else None

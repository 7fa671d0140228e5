"""What people are told of zones whose state changes: what happened, what it means for pods, and where to look."""

from __future__ import annotations

from typing import NamedTuple

from knarr.client.events import NORMAL, WARNING
from services.controller.controllers.nodelifecycle.zones import Change, Count, Settled, Zone, ZoneState


class Told(NamedTuple):
    """Of an event."""

    type: str
    reason: str
    message: str


class News:
    """Remembers what of disruptions was told, so that no end is told of what nobody heard of: that nodes of a cluster are not ready while
    they start is no news, nor is what was found at the first look."""

    def __init__(self) -> None:
        self._zones: set[Zone] = set()
        self._everywhere = False

    def of(self, settled: Settled, everywhere: Count) -> list[Told]:
        """``everywhere`` are the nodes of all zones as they are now."""
        self._zones -= {zone for zone, count in settled.counts.items() if not count.size}
        if settled.stopped is None:
            return [_changed(change) for change in settled.changes if self._is_news(change, settled.first)]
        before, self._everywhere = self._everywhere, settled.stopped and bool(everywhere.failing) and not settled.first
        self._zones = {change.zone for change in settled.changes if before and change.after is not ZoneState.NORMAL}
        if self._everywhere:
            return [_stopped(everywhere)]
        return [_resumed(everywhere)] if before else []

    def _is_news(self, change: Change, first: bool) -> bool:
        if change.after is ZoneState.NORMAL:
            known = change.zone in self._zones
            self._zones.discard(change.zone)
            return known
        if first or not change.nodes.failing:
            return False
        self._zones.add(change.zone)
        return True


def _stopped(everywhere: Count) -> Told:
    message = (
        f"None of the cluster's nodes ({everywhere.size}) is ready: no pods are evicted until one is, and taints for that are taken off."
        " It is rather the network or the control plane that fails than all of them: see whether they reach the API server"
    )
    return Told(WARNING, "EvictionsStopped", message)


def _resumed(everywhere: Count) -> Told:
    message = f"{everywhere.ready} of the cluster's {everywhere.size} nodes are ready again: pods are evicted from those that stay away"
    return Told(NORMAL, "EvictionsResumed", message)


def _changed(change: Change) -> Told:
    ready, size, where, pace = change.nodes.ready, change.nodes.size, _where(change.zone), _pace(change.per_second)
    common = "See what these nodes have in common: their network, power, an update"
    if change.after is ZoneState.NORMAL:
        return Told(NORMAL, "ZoneNormal", f"{ready} of {size} nodes{where} are ready again: pods are evicted from {pace} that is not")
    if change.after is ZoneState.FULL_DISRUPTION:
        message = f"None of the {size} nodes{where} is ready, others are: pods are evicted from {pace}. {common}"
    else:
        message = f"{size - ready} of {size} nodes{where} are not ready: pods are evicted from {pace}. {common}"
    return Told(WARNING, f"Zone{change.after}", message)


def _where(zone: Zone) -> str:
    said = "/".join(filter(None, zone))
    return f" of zone {said}" if said else " without a zone"


def _pace(per_second: float) -> str:
    if not per_second:
        return "no further node"
    return f"one node each {1 / per_second:g} s" if per_second <= 1 else f"up to {per_second:g} nodes a second"

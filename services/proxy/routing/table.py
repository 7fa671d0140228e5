"""The routing table: which addresses lead to which endpoints. Plain values without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class RouteKey(NamedTuple):
    """One port of one Service; the port's name is empty when the Service has a single, unnamed port."""

    namespace: str
    service: str
    port_name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}" + (f":{self.port_name}" if self.port_name else "")


@dataclass(frozen=True, order=True, slots=True)
class Endpoint:
    """One destination. ``pod`` is the name of the pod behind it, empty where unknown."""

    address: str
    port: int
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One port of a Service: the addresses that lead to it and where it leads.

    ``protocol`` is ``tcp`` or ``udp``. ``cluster_ips`` are IPv4 addresses; ``node_port`` is 0 when there is none. Without
    endpoints a connection is refused. ``limitations`` says in words what of the Service's wishes is not in force.
    """

    key: RouteKey
    protocol: str
    cluster_ips: tuple[str, ...]
    port: int
    node_port: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    limitations: tuple[str, ...] = ()


RoutingTable = Mapping[RouteKey, Route]


@dataclass(frozen=True, slots=True)
class Change:
    """What turns one table into another: removals come first, so that an address may move between routes."""

    removed: tuple[Route, ...] = ()
    updated: tuple[tuple[Route, Route], ...] = field(default=())
    added: tuple[Route, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.removed or self.updated or self.added)


def diff(old: RoutingTable, new: RoutingTable) -> Change:
    """The change from ``old`` to ``new``, in the order of the keys."""
    return Change(
        removed=tuple(old[key] for key in sorted(old.keys() - new.keys())),
        updated=tuple((old[key], new[key]) for key in sorted(old.keys() & new.keys()) if old[key] is not new[key] and old[key] != new[key]),
        added=tuple(new[key] for key in sorted(new.keys() - old.keys())),
    )


def patched(table: RoutingTable, change: Change) -> RoutingTable:
    """The table after a change."""
    result = dict(table)
    for route in change.removed:
        del result[route.key]
    for _, route in change.updated:
        result[route.key] = route
    for route in change.added:
        result[route.key] = route
    return result

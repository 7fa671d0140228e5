"""The routing table: which addresses lead to which endpoints. Plain values without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
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

    @property
    def before(self) -> tuple[Route, ...]:
        """The routes that are replaced or removed."""
        return (*self.removed, *(old for old, _ in self.updated))

    @property
    def after(self) -> tuple[Route, ...]:
        """The routes that are new or as they are now."""
        return (*(new for _, new in self.updated), *self.added)


def diff(old: RoutingTable, new: RoutingTable, keys: Iterable[RouteKey] | None = None) -> Change:
    """The change from ``old`` to ``new``, in the order of the keys; of these keys only, where told."""
    removed, updated, added = [], [], []
    for key in sorted(old.keys() | new.keys() if keys is None else set(keys)):
        before, after = old.get(key), new.get(key)
        if before is after or before == after:
            continue
        if after is None and before is not None:
            removed.append(before)
        elif before is None and after is not None:
            added.append(after)
        elif before is not None and after is not None:
            updated.append((before, after))
    return Change(tuple(removed), tuple(updated), tuple(added))


def patch(table: dict[RouteKey, Route], change: Change) -> None:
    """Makes a table the one after a change."""
    for route in change.removed:
        del table[route.key]
    for route in change.after:
        table[route.key] = route


class ClusterIPs:
    """How many routes use each ClusterIP, kept by their changes."""

    def __init__(self) -> None:
        self._uses: Counter[str] = Counter()

    @property
    def used(self) -> Set[str]:
        """A view; it changes with us."""
        return self._uses.keys()

    def difference(self, change: Change) -> tuple[set[str], set[str]]:
        """The addresses that come into use with a change, and those that go out of it."""
        delta = _delta(change)
        come = {ip for ip, by in delta.items() if by > 0 and ip not in self._uses}
        return come, {ip for ip, by in delta.items() if by < 0 and self._uses[ip] + by == 0}

    def apply(self, change: Change) -> None:
        for ip, by in _delta(change).items():
            self._uses[ip] += by
            if not self._uses[ip]:
                del self._uses[ip]


def _delta(change: Change) -> Counter[str]:
    delta: Counter[str] = Counter()
    for route in change.before:
        delta.subtract(route.cluster_ips)
    for route in change.after:
        delta.update(route.cluster_ips)
    return delta

"""The routing table: which addresses lead to which endpoints. Plain values without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

CLUSTER, LOCAL = "Cluster", "Local"

# Namespace and name of whoever has routes.
Name = tuple[str, str]


class RouteKey(NamedTuple):
    """One port of one Service; the port's name is empty when the Service has a single, unnamed port. Or one host port of a pod, which
    stands as ``pod/<name>`` in the Service's place."""

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
    """One port of a Service, or of a pod on its node: the addresses that lead to it and where they lead.

    ``protocol`` is ``tcp``, ``udp`` or ``sctp`` (which is refused). Addresses are IPv4, those of each class lead to ``port``;
    ``node_port`` is 0 when there is none. ``endpoints`` are those of the whole cluster, ``local_endpoints`` those of this node,
    known where one of the policies is ``Local``. ``limitations`` says in words what of the Service's wishes is not in force.
    """

    key: RouteKey
    protocol: str
    cluster_ips: tuple[str, ...]
    port: int
    node_port: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    limitations: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    # Addresses of the node that lead to ``port``, where not all of them do.
    host_ips: tuple[str, ...] = ()
    # Who may use the load balancer's addresses, CIDRs; empty: everyone.
    source_ranges: tuple[str, ...] = ()
    # Policies for the ClusterIPs, and for all other addresses.
    internal_policy: str = CLUSTER
    external_policy: str = CLUSTER
    local_endpoints: tuple[Endpoint, ...] = ()
    # How long a client stays with its endpoint after its last connection, seconds; 0: no affinity.
    affinity_seconds: int = 0
    # 0 when there is none; ``local_ready`` are the addresses of this node's ready endpoints, known where there is one.
    health_check_port: int = 0
    local_ready: tuple[str, ...] = ()
    # Whether this node announces the load balancer's addresses.
    held: bool = False

    @property
    def outer_ips(self) -> tuple[str, ...]:
        """The addresses that the external policy holds for, but for the node's own."""
        return (*self.external_ips, *self.load_balancer_ips)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of all classes, but for the node's own."""
        return (*self.cluster_ips, *self.outer_ips)

    @property
    def held_ips(self) -> tuple[str, ...]:
        """The load-balancer addresses that this node announces."""
        return self.load_balancer_ips if self.held else ()

    @property
    def reached_from_outside(self) -> bool:
        return bool(self.outer_ips or self.node_port or self.host_ips)

    @property
    def needs_all(self) -> bool:
        """Whether some address leads to the endpoints of the whole cluster: with the external policy ``Local``, too, the node's own
        processes and pods reach them so."""
        return self.internal_policy == CLUSTER or self.reached_from_outside

    @property
    def needs_local(self) -> bool:
        return self.internal_policy == LOCAL or (self.external_policy == LOCAL and self.reached_from_outside)


RoutingTable = Mapping[RouteKey, Route]


@dataclass(frozen=True, slots=True)
class Change:
    """What turns one table into another: removals come first, so that an address may move between routes."""

    removed: tuple[Route, ...] = ()
    updated: tuple[tuple[Route, Route], ...] = field(default=())
    added: tuple[Route, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.removed or self.updated or self.added)

    def halves(self) -> tuple[Change, ...]:
        """Two changes that come to the same, the first of which takes away before the second adds; none where there is one route only."""
        steps: list[Change] = [Change(removed=(route,)) for route in self.removed]
        steps += [Change(updated=(pair,)) for pair in self.updated]
        steps += [Change(added=(route,)) for route in self.added]
        middle = len(steps) // 2
        return (_together(steps[:middle]), _together(steps[middle:])) if middle else ()

    @property
    def before(self) -> tuple[Route, ...]:
        """The routes that are replaced or removed."""
        return (*self.removed, *(old for old, _ in self.updated))

    @property
    def after(self) -> tuple[Route, ...]:
        """The routes that are new or as they are now."""
        return (*(new for _, new in self.updated), *self.added)


def _together(changes: Iterable[Change]) -> Change:
    parts = list(changes)
    return Change(
        tuple(route for part in parts for route in part.removed),
        tuple(pair for part in parts for pair in part.updated),
        tuple(route for part in parts for route in part.added),
    )


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


def destinations(route: Route) -> tuple[Endpoint, ...]:
    """Each endpoint that some address leads to, once."""
    return tuple(dict.fromkeys((*route.endpoints, *route.local_endpoints)))


def patch(table: dict[RouteKey, Route], change: Change) -> None:
    """Makes a table the one after a change."""
    for route in change.removed:
        del table[route.key]
    for route in change.after:
        table[route.key] = route


class AddressUses:
    """How many routes use each address of some classes, kept by their changes."""

    def __init__(self, addresses: Callable[[Route], Iterable[str]]) -> None:
        self._addresses = addresses
        self._uses: Counter[str] = Counter()

    @property
    def used(self) -> Set[str]:
        """The addresses in use: a view that changes with us."""
        return self._uses.keys()

    def difference(self, change: Change) -> tuple[set[str], set[str]]:
        """The addresses that come into use with a change, and those that go out of it."""
        delta = self._delta(change)
        come = {ip for ip, by in delta.items() if by > 0 and ip not in self._uses}
        return come, {ip for ip, by in delta.items() if by < 0 and self._uses[ip] + by == 0}

    def apply(self, change: Change) -> None:
        for ip, by in self._delta(change).items():
            self._uses[ip] += by
            if not self._uses[ip]:
                del self._uses[ip]

    def _delta(self, change: Change) -> Counter[str]:
        delta: Counter[str] = Counter()
        for route in change.before:
            delta.subtract(self._addresses(route))
        for route in change.after:
            delta.update(self._addresses(route))
        return delta


class ClusterIPs(AddressUses):
    """The uses of ClusterIPs."""

    def __init__(self) -> None:
        super().__init__(lambda route: route.cluster_ips)

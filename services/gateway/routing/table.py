"""The routing table: which request is taken by which route. Pure; it decides as the proxy's configuration does, which is made of it.

Precedence, as Ingress and Gateway API specify it: the host as it is before wildcards, and those (the longest first) before routes for any
host; of one host an exact path, then a regular expression, then the longest prefix; of one path the route with a method, then the one with
more headers, then with more query parameters, then the eldest, then by namespace and name. A route that has conditions which a request does
not meet is passed over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from services.gateway.routing.actions import Action
from services.gateway.routing.canaries import Canary
from services.gateway.routing.conditions import Condition


class PathKind(Enum):
    """In the order in which they are asked."""

    EXACT = "Exact"
    REGEX = "RegularExpression"
    PREFIX = "Prefix"


@dataclass(frozen=True, slots=True)
class Match:
    """A prefix is one of whole parts of a path and has no slash at its end (so ``/`` is empty). ``regex`` begins where the path does."""

    kind: PathKind = PathKind.PREFIX
    path: str = ""
    method: str = ""
    headers: tuple[Condition, ...] = ()
    query: tuple[Condition, ...] = ()
    cookies: tuple[Condition, ...] = ()
    ignore_case: bool = False

    @property
    def conditional(self) -> bool:
        return bool(self.method or self.headers or self.query or self.cookies)

    @property
    def place(self) -> Place:
        return Place(self.kind, self.path, self.ignore_case)


@dataclass(frozen=True, slots=True)
class Place:
    """A path as routes share it."""

    kind: PathKind
    path: str
    ignore_case: bool = False


# How old a route is that is asked after every other of its place.
LAST = 1 << 40
# Beside the number of a port: its routes of TLS that is passed on are others than those of TLS that ends here, and those of a Gateway with
# an address of its own others than those of all who share one.
PASSED, SCOPE = 1 << 16, 1 << 17


def passed(port: int) -> int:
    """What stands for the routes of TLS that is passed on, of a port."""
    return port | PASSED


def scoped(port: int, scope: int) -> int:
    """What stands for a port of an address: 0 is the one that is shared."""
    return port + scope * SCOPE


def scope_of(port: int) -> int:
    return port // SCOPE


def entry_of(port: int) -> int:
    """What stands for a port of an address, whatever becomes of its TLS."""
    return port & ~PASSED


def number_of(port: int) -> int:
    """The port itself, as clients mean it."""
    return port % PASSED


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """The object a route comes from."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Route:
    """``port`` is the one that clients reach (``passed`` for TLS that is passed on, ``scoped`` at an address of its own); ``host`` is a
    name, ``*.NAME`` (``deep``: for any number of labels, else for one), or empty for any. ``place`` says where in its object it stands;
    ``since`` when that was made, seconds."""

    port: int
    host: str
    match: Match
    action: Action
    origin: Origin
    place: str = ""
    since: int = 0
    deep: bool = False
    position: int = 0
    canary: Canary | None = None

    @property
    def rank(self) -> tuple[object, ...]:
        """The lower, the sooner it is asked among those of one place."""
        match = self.match
        return (not match.method, -len(match.headers), -len(match.query), self.since, self.origin, self.position)


@dataclass(frozen=True, slots=True, order=True)
class Host:
    """One host of one port: its routes are looked up together."""

    port: int
    name: str
    deep: bool = False


@dataclass(slots=True)
class HostRoutes:
    """Of one host: by place, in the order in which they are asked."""

    places: dict[Place, list[Route]] = field(default_factory=dict)

    def add(self, route: Route) -> None:
        found = self.places.setdefault(route.match.place, [])
        found.append(route)
        found.sort(key=lambda each: each.rank)

    def remove(self, route: Route) -> None:
        found = self.places.get(route.match.place, [])
        if route in found:
            found.remove(route)
        if not found:
            self.places.pop(route.match.place, None)

    def asked(self, place: Place) -> list[Route]:
        """Those that a request which comes to a place is held against, in turn: the last one takes all, if there is such a one. After those
        of a prefix those of the shorter ones are asked."""
        found: list[Route] = []
        for each in _upwards(place):
            for route in with_canary(self.places.get(each, ())):
                found.append(route)
                if not route.match.conditional:
                    return found
        return found

    def expressions(self) -> list[Place]:
        """Regular expressions, the longest first."""
        found = [place for place in self.places if place.kind is PathKind.REGEX]
        return sorted(found, key=lambda place: (-len(place.path), place.path, place.ignore_case))


def _upwards(place: Place) -> Iterator[Place]:
    yield place
    path = place.path
    while place.kind is PathKind.PREFIX and path:
        path = path.rpartition("/")[0]
        yield Place(PathKind.PREFIX, path)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of Explain. ``port`` is as a route's. Header names are in lower case; a query parameter may have several values."""

    port: int
    host: str
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def cookies(self) -> Mapping[str, str]:
        parts = (part.strip().partition("=") for part in self.headers.get("cookie", "").split(";"))
        return {name: value for name, _, value in parts}


@dataclass(frozen=True, slots=True)
class Step:
    """A route that was held against a request: whether it takes it, and if not, why."""

    route: Route
    taken: bool
    reason: str


class Table:
    """All routes, by who has them; ``put`` tells the hosts that changed."""

    def __init__(self) -> None:
        self.hosts: dict[Host, HostRoutes] = {}
        self._of: dict[Origin, tuple[Route, ...]] = {}
        self._by_port: defaultdict[int, set[Host]] = defaultdict(set)

    def put(self, origin: Origin, routes: Iterable[Route]) -> set[Host]:
        """Takes all routes of an object as they are now; none: it has no more. What is the same stays as it is."""
        before, after = self._of.get(origin, ()), tuple(routes)
        if before == after:
            return set()
        touched: set[Host] = set()
        for route in before:
            host = host_of(route)
            touched.add(host)
            self.hosts[host].remove(route)
        for route in after:
            host = host_of(route)
            touched.add(host)
            self.hosts.setdefault(host, HostRoutes()).add(route)
            self._by_port[host.port].add(host)
        for host in touched:
            if not self.hosts[host].places:
                del self.hosts[host]
                self._by_port[host.port].discard(host)
        if after:
            self._of[origin] = after
        else:
            self._of.pop(origin, None)
        return touched

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def routes(self, origin: Origin | None = None) -> Iterator[Route]:
        if origin is not None:
            yield from self._of.get(origin, ())
            return
        for routes in self._of.values():
            yield from routes

    @property
    def ports(self) -> set[int]:
        return {port for port, hosts in self._by_port.items() if hosts}

    def shadowed(self, origin: Origin) -> Iterator[tuple[Route, Route]]:
        """Routes of an object that get no request, since another's (the second) says the same and is asked before."""
        for route in self._of.get(origin, ()):
            for other in self.hosts[host_of(route)].places[route.match.place]:
                if other is route:
                    break
                same_kind = (other.canary is None) == (route.canary is None)
                if other.match == route.match and other.origin != origin and same_kind:
                    yield route, other
                    break

    def lonely(self, origin: Origin) -> Iterator[Route]:
        """Canaries of an object that no other route leads a part to."""
        for route in self._of.get(origin, ()):
            if route.canary is not None and not with_canary(self.hosts[host_of(route)].places[route.match.place]):
                yield route

    def explain(self, request: Request) -> list[Step]:
        """Every route that was held against it; the last one takes it, if any does."""
        steps: list[Step] = []
        for host in self._candidates(request):
            for route in _asked(self.hosts[host], request.path):
                reason = _refusal(route.match, request)
                steps.append(Step(route, not reason, reason))
                if not reason:
                    return steps
        return steps

    def passes(self, port: int) -> bool:
        """Whether TLS of a port is passed on, and ends there for nobody."""
        return passed(port) in self.ports and port not in self.ports

    def _candidates(self, request: Request) -> Iterator[Host]:
        """Hosts that are asked, in their order: where TLS is passed on for some names, those first."""
        for port in (passed(request.port), request.port):
            for host in _meant(port, request.host.lower()):
                if host in self.hosts:
                    yield host


def _meant(port: int, name: str) -> Iterator[Host]:
    """All that a name may stand for, in the order in which they are asked."""
    yield Host(port, name)
    _, _, rest = name.partition(".")
    yield Host(port, f"*.{rest}")
    while rest:
        yield Host(port, f"*.{rest}", deep=True)
        _, _, rest = rest.partition(".")
    yield Host(port, "")


def with_canary(routes: Sequence[Route]) -> Sequence[Route]:
    """Those of one place, where a canary (the eldest) gets its part of what the route without conditions would take, and does as that one
    does. Without such a route it gets nothing."""
    canary = next((route for route in routes if route.canary is not None), None)
    if canary is None or canary.canary is None:
        return routes
    others = [route for route in routes if route.canary is None]
    main = next((route for route in others if not route.match.conditional), None)
    if main is None:
        return others
    parts = [
        replace(canary if own else main, match=replace(main.match, **conditions), action=action)
        for conditions, action, own in canary.canary.parts(main.action, canary.action)
    ]
    position = others.index(main)
    return [*others[:position], *parts, *others[position + 1 :]]


def host_of(route: Route) -> Host:
    return Host(route.port, route.host, route.deep)


def prefix_covers(prefix: str, path: str) -> bool:
    """By whole parts: ``/a`` covers ``/a`` and ``/a/b``, but not ``/ab``."""
    return f"{path}/".startswith(f"{prefix}/")


def _asked(routes: HostRoutes, path: str) -> Iterator[Route]:
    yield from routes.asked(Place(PathKind.EXACT, path))
    for place in routes.expressions():
        if re.match(place.path, path, re.IGNORECASE if place.ignore_case else 0):
            yield from routes.asked(place)
    prefixes = [place for place in routes.places if place.kind is PathKind.PREFIX and prefix_covers(place.path, path)]
    if prefixes:
        yield from routes.asked(max(prefixes, key=lambda place: len(place.path)))


def _refusal(match: Match, request: Request) -> str:
    """Why it does not take the request, in words; empty when it does."""
    if match.method and match.method != request.method:
        return f"the method is {request.method}, not {match.method}"
    for wanted in match.headers:
        if not wanted.met_by(request.headers.get(wanted.name.lower())):
            return f"the header {wanted.name} is not {'like ' if wanted.regex else ''}{wanted.value!r}"
    for wanted in match.cookies:
        if not wanted.met_by(request.cookies.get(wanted.name)):
            return f"the cookie {wanted.name} is not {wanted.value!r}"
    for wanted in match.query:
        if not any(map(wanted.met_by, request.query.get(wanted.name, ()))):
            return f"the query parameter {wanted.name} is not {'like ' if wanted.regex else ''}{wanted.value!r}"
    return ""

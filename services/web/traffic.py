"""How many connections a second go to each endpoint of each Service, as the nodes' proxies count them.

The proxy's counters only grow; a rate is what they grew by between two looks, over the seconds between. The pure ``rates`` compares two
looks, ``Traffic`` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.service.late import loaded
from services.web.history import Link
from services.web.parts import Parts

if TYPE_CHECKING:
    from knarr.api.proxy.v1 import proxy_service_pb2 as proxy

PROXY = "kube-proxy"
ROUTES = "/knarr.api.proxy.v1.ProxyService/GetRoutes"
# Counters of looks that are closer tell little; those of looks that are farther apart tell of what is over.
LEAST_SECONDS, MOST_SECONDS = 1.0, 15.0


class Edge(NamedTuple):
    """From one port of a Service to one of its endpoints."""

    namespace: str
    service: str
    protocol: str
    port: int
    address: str
    target: int


@dataclass(frozen=True, slots=True)
class Look:
    """The counters at a moment, in connections since the proxy's start; ``pods`` are the names behind them, empty where there is none.
    ``since``: when each edge came into force, in milliseconds since 1970, where that is told."""

    at: float
    counts: Mapping[Edge, int]
    pods: Mapping[Edge, str]
    datapath: str
    since: Mapping[Edge, int] = field(default_factory=dict)


class First(NamedTuple):
    """When an edge's first connection was counted: after one look and by the next, in milliseconds since 1970."""

    after: int
    by: int


def rates(before: Look | None, now: Look) -> dict[Edge, float | None]:
    """Connections a second by edge; None where it cannot be told yet. One that counts less than before was begun anew meanwhile."""
    if before is None or not 0 < now.at - before.at <= MOST_SECONDS:
        return dict.fromkeys(now.counts)
    seconds = now.at - before.at
    # An edge that is new has counted all it has since.
    grown = {edge: count - before.counts.get(edge, 0) for edge, count in now.counts.items()}
    return {edge: (more if more >= 0 else now.counts[edge]) / seconds for edge, more in grown.items()}


class Traffic:
    """Looks at most once in LEAST_SECONDS, however many ask: see ``Shared``."""

    def __init__(self, parts: Parts, clock: Clock = SYSTEM_CLOCK) -> None:
        self._parts, self._clock = parts, clock
        # By proxy: each counts what goes through it, since its own start.
        self._before: Mapping[str, Look] = {}
        # When that was, in milliseconds since 1970.
        self._looked = 0
        # Of edges whose first connection was awaited, by the pod's name too: its address may be another's later.
        self._firsts: dict[tuple[Edge, str], First] = {}

    async def now(self) -> dict[str, Any]:
        """``edges``: one for each endpoint of each port, with its ``rate`` (None until there were two looks) over all proxies that answer.
        Raises Unanswered."""
        looks = await self._looks()
        edges: dict[Edge, dict[str, Any]] = {}
        for proxy, look in looks.items():
            for edge, rate in rates(self._before.get(proxy), look).items():
                one = edges.setdefault(edge, {**edge._asdict(), "pod": look.pods[edge], "connections": 0, "rate": None})
                one["connections"] += look.counts[edge]
                if rate is not None:
                    one["rate"] = round((one["rate"] or 0.0) + rate, 2)
        self._note_firsts(looks)
        self._before = looks
        return {"datapath": ", ".join(sorted({look.datapath for look in looks.values()})), "edges": list(edges.values())}

    def _note_firsts(self, looks: Mapping[str, Look]) -> None:
        """Of what was not counted when it was last looked, and is now."""
        now = round(self._clock.now().timestamp() * 1000)
        before, after = _counted(self._before), _counted(looks)
        known = {edge: first for edge, first in self._firsts.items() if edge in after}
        # Before the first look nothing is known of what was counted when.
        fresh = [edge for edge, count in after.items() if count and not before.get(edge)] if self._before else []
        self._firsts = {edge: First(self._looked, now) for edge in fresh} | known
        self._looked = now

    def links(self, namespace: str, pod: str) -> list[Link]:
        """What comes after a pod has become an endpoint, for each port of each Service, as it was last looked: a node's rule that leads to
        it, and the first connection."""
        found: list[Link] = []
        for look in self._before.values():
            edges = [edge for edge, name in look.pods.items() if name == pod and edge.namespace == namespace]
            found += [Link("rule", look.since[edge], 0, "services", edge.service, PROXY) for edge in edges if edge in look.since]
        for (edge, name), first in self._firsts.items():
            if name == pod and edge.namespace == namespace:
                found.append(Link("request", first.by, 0, "services", edge.service, "", first.by - first.after))
        # Of several nodes and ports the first; the rule before what comes by it.
        firsts: dict[tuple[str, str], Link] = {}
        for link in sorted(found, key=lambda link: (link.step != "rule", link.at)):
            firsts.setdefault((link.step, link.name), link)
        return list(firsts.values())

    async def _looks(self) -> dict[str, Look]:
        messages = await loaded("knarr.api.proxy.v1.proxy_service_pb2")
        answers = await self._parts.ask_each("proxy", ROUTES, messages.GetRoutesRequest(), messages.GetRoutesResponse)
        at = self._clock.elapsed()
        return {proxy: _look(answer, at) for proxy, answer in answers.items()}


def _look(answer: proxy.GetRoutesResponse, at: float) -> Look:
    counts: dict[Edge, int] = {}
    pods: dict[Edge, str] = {}
    since: dict[Edge, int] = {}
    for route in answer.routes:
        for one in route.endpoints:
            edge = Edge(route.namespace, route.service, route.protocol, route.port, one.address, one.port)
            counts[edge], pods[edge] = one.connections, one.pod
            if one.HasField("in_force_since"):
                since[edge] = one.in_force_since.ToMilliseconds()
    return Look(at, counts, pods, answer.datapath, since)


def _counted(looks: Mapping[str, Look]) -> dict[tuple[Edge, str], int]:
    """Connections of each edge and pod, through all proxies."""
    counted: dict[tuple[Edge, str], int] = {}
    for look in looks.values():
        for edge, count in look.counts.items():
            key = (edge, look.pods.get(edge, ""))
            counted[key] = counted.get(key, 0) + count
    return counted

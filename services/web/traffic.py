"""How many connections a second go to each endpoint of each Service, as this node's proxy counts them.

The proxy's counters only grow; a rate is what they grew by between two looks, over the seconds between. The pure ``rates`` compares two
looks, ``Traffic`` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.service.late import loaded
from services.web.parts import Parts

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


class Look(NamedTuple):
    """The counters at a moment, in connections since the proxy's start; ``pods`` are the names behind them, empty where there is none."""

    at: float
    counts: Mapping[Edge, int]
    pods: Mapping[Edge, str]
    datapath: str


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
        self._before: Look | None = None

    async def now(self) -> dict[str, Any]:
        """``edges``: one for each endpoint of each port, with its ``rate`` (None until there were two looks). Raises Unanswered."""
        look = await self._look()
        found, self._before = rates(self._before, look), look
        edges = [
            {**edge._asdict(), "pod": look.pods[edge], "connections": look.counts[edge], "rate": None if rate is None else round(rate, 2)}
            for edge, rate in found.items()
        ]
        return {"datapath": look.datapath, "edges": edges}

    async def _look(self) -> Look:
        messages = await loaded("knarr.api.proxy.v1.proxy_service_pb2")
        answer = await self._parts.ask("proxy", ROUTES, messages.GetRoutesRequest(), messages.GetRoutesResponse)
        counts: dict[Edge, int] = {}
        pods: dict[Edge, str] = {}
        for route in answer.routes:
            for one in route.endpoints:
                edge = Edge(route.namespace, route.service, route.protocol, route.port, one.address, one.port)
                counts[edge], pods[edge] = one.connections, one.pod
        return Look(self._clock.elapsed(), counts, pods, answer.datapath)

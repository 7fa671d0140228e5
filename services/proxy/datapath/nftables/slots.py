"""Where a route's endpoints stand: each route has a number, and with it a range of slots in a map, one for each turn.

A map is shared by a few routes: the kernel looks through the whole of it whenever a rule that uses it is made, and through the list of
all maps whenever one is looked for.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

from services.proxy.routing.table import Route, RouteKey

ROUTES_PER_MAP = 32
# Endpoints of a route; 2**32 slots are there for all routes together.
SLOTS_PER_ROUTE = 8192


@dataclass(slots=True)
class Standing:
    """A route in force. ``places`` are its destinations in the order of their turns."""

    number: int
    route: Route
    places: list[tuple[str, int]] = field(default_factory=list)

    @property
    def map(self) -> str:
        return f"endpoints-{self.number // ROUTES_PER_MAP}"

    @property
    def offset(self) -> int:
        return self.number * SLOTS_PER_ROUTE


class Slots:
    """Numbers for routes, the lowest first, and how many slots lead to each address."""

    def __init__(self) -> None:
        self.standings: dict[RouteKey, Standing] = {}
        self.maps: set[str] = set()
        self.uses: Counter[str] = Counter()
        self._free: list[int] = []

    def admit(self, route: Route) -> Standing:
        """Gives a new route its number."""
        number = heapq.heappop(self._free) if self._free else len(self.standings)
        standing = self.standings[route.key] = Standing(number, route)
        return standing

    def dismiss(self, key: RouteKey) -> Standing:
        """Takes the number of a route that is gone back."""
        standing = self.standings.pop(key)
        heapq.heappush(self._free, standing.number)
        return standing


def places(route: Route) -> list[tuple[str, int]]:
    """A route's destinations, each once, as many as there is room for."""
    return list(dict.fromkeys((endpoint.address, endpoint.port) for endpoint in route.endpoints))[:SLOTS_PER_ROUTE]

"""Which endpoint a client had last, for as long as its Service wants it to come back there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from services.proxy.routing.table import Endpoint

# The one that has been away longest is forgotten for another one.
MAX_CLIENTS = 65536


class Affinity:
    """Endpoints by client's address, the one seen last at the end."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._clients: OrderedDict[str, tuple[Endpoint, float]] = OrderedDict()

    def recall(self, client: str, endpoints: Collection[Endpoint], now: float) -> Endpoint | None:
        """The client's endpoint, if its time has not run out and it is still among these."""
        found = self._clients.get(client)
        if found is None or found[1] < now or found[0] not in endpoints:
            return None
        return found[0]

    def remember(self, client: str, endpoint: Endpoint, now: float) -> None:
        self._clients[client] = (endpoint, now + self.seconds)
        self._clients.move_to_end(client)
        while self._clients and (len(self._clients) > MAX_CLIENTS or next(iter(self._clients.values()))[1] < now):
            self._clients.popitem(last=False)

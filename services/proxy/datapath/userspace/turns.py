"""Whose turn it is: one set of endpoints, dealt out in turn, but for clients that come back to theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from services.proxy.datapath.userspace.affinity import Affinity
from services.proxy.routing.table import Endpoint


class Turns:
    """The endpoints that one door of a route leads to."""

    def __init__(self) -> None:
        self.endpoints: tuple[Endpoint, ...] = ()
        self._turn = 0
        self._affinity: Affinity | None = None

    def update(self, endpoints: tuple[Endpoint, ...], affinity_seconds: int) -> None:
        """The turns begin anew where the endpoints are others; clients stay with those that are still there."""
        if self.endpoints != endpoints:
            self._turn = 0
        self.endpoints = endpoints
        if not affinity_seconds:
            self._affinity = None
        elif self._affinity is None or self._affinity.seconds != affinity_seconds:
            self._affinity = Affinity(affinity_seconds)

    def candidates(self, client: str) -> Iterator[Endpoint]:
        """The endpoints to try, one after the other: the client's own, then as many as there are now by their turns."""
        if self._affinity is not None:
            own = self._affinity.recall(client, self.endpoints, time.monotonic())
            if own is not None:
                yield own
        for _ in range(len(self.endpoints)):
            if not self.endpoints:
                return
            endpoint = self.endpoints[self._turn % len(self.endpoints)]
            self._turn += 1
            yield endpoint

    def took(self, client: str, endpoint: Endpoint) -> None:
        """Notes that a client has got this endpoint."""
        if self._affinity is not None:
            self._affinity.remember(client, endpoint, time.monotonic())

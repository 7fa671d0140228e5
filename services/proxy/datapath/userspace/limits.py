"""How much one proxy carries at a time: each connection takes two file descriptors, and a process has only so many."""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import time
from collections import Counter

from services.proxy import metrics
from services.proxy.datapath.port import Gate
from services.proxy.routing.table import Endpoint

log = logging.getLogger(__name__)

# Descriptors for listening sockets, the API server and all else.
RESERVED_DESCRIPTORS = 512
DESCRIPTORS_PER_CONNECTION = 2
# What one route may take of all: others are served while it is flooded.
SHARE_PER_ROUTE = 0.75
LOG_SECONDS = 10.0
# No local port is left towards an endpoint, or no descriptor for anything.
EXHAUSTED = {errno.EADDRNOTAVAIL: "no-local-port", errno.EMFILE: "no-descriptor", errno.ENFILE: "no-descriptor"}


class Limits:
    """Counts what is carried, by route. ``gate`` is asked who may be connected with whom, where there is one."""

    gate: Gate | None = None

    def __init__(self, total: int | None = None) -> None:
        """``total``: connections at a time; as many as this process has descriptors for, unless told."""
        self.total = total if total is not None else _room()
        self.per_route = max(1, int(self.total * SHARE_PER_ROUTE))
        self._taken = 0
        self._by_route: Counter[object] = Counter()
        self._logged: dict[str, float] = {}

    def take(self, route: object) -> bool:
        """Whether there is room for one more; ``give_back`` it then."""
        if self._taken >= self.total or self._by_route[route] >= self.per_route:
            self.refused(str(route), "limit")
            return False
        self._taken += 1
        self._by_route[route] += 1
        return True

    def admits(self, client: str, named: tuple[str, int], endpoint: Endpoint, protocol: str) -> bool:
        """Whether policies let a client be connected to an endpoint."""
        return self.gate is None or self.gate(client, named, endpoint, protocol)

    def give_back(self, route: object) -> None:
        self._taken -= 1
        self._by_route[route] -= 1
        if not self._by_route[route]:
            del self._by_route[route]

    def failed(self, route: str, error: OSError, towards: str = "") -> bool:
        """Whether a client was turned away because something of this node is used up, which is counted then."""
        reason = EXHAUSTED.get(error.errno or 0)
        if reason is not None:
            self.refused(route, reason, f"{towards}: {error}" if towards else str(error))
        return reason is not None

    def refused(self, route: str, reason: str, error: str = "") -> None:
        """Counts a client that was turned away, and says so now and then."""
        metrics.REFUSED.labels(reason).inc()
        now = time.monotonic()
        if now >= self._logged.get(reason, 0.0):
            self._logged[reason] = now + LOG_SECONDS
            log.warning("connections are turned away", extra={"route": route, "reason": reason, "carried": self._taken, "error": error})


def _room() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return max(16, (soft - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)

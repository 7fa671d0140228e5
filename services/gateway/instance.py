"""One instance of the gateway: its parts, and what it says of itself.

The component runs the parts; the servicer shows them to people.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import datetime

from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.events import EventRecorder
from services.gateway.executor import Executor
from services.gateway.follower import Follower
from services.gateway.gateway_reporter import GatewayReporter
from services.gateway.reporter import IngressReporter
from services.gateway.rest import Rest
from services.gateway.routing.table import Origin
from services.gateway.settings import GatewaySettings


class Instance:
    """Its parts are run by others."""

    def __init__(self, client: Client, settings: GatewaySettings, rest: Rest, clock: Clock) -> None:
        self.settings, self._rest = settings, rest
        self.executor = Executor(settings, self._look_at_all)
        self.follower = Follower(client, settings, rest, self.executor, clock, self._settled)
        self.recorder = EventRecorder(client, "knarr-gateway", socket.gethostname(), clock=clock)
        self.gateway_reporter = GatewayReporter(
            client, self.follower.gateway_api, clock, lambda: self.address, lambda: self.executor.problem
        )
        self.reporter = IngressReporter(client, self.recorder, rest.ingresses.store, lambda: self.address, self.problems_of)

    @property
    def address(self) -> str:
        """What is told in the status of what is served; empty: nothing."""
        return self.settings.status_address

    @property
    def away_since(self) -> datetime | None:
        """Since when the API server does not answer; None while it does."""
        followed = (self._rest.ingresses, self._rest.classes, self.follower.services)
        return min((since for informer in followed if (since := informer.away_since) is not None), default=None)

    def problems_of(self, origin: Origin) -> Sequence[tuple[str, str]] | None:
        """Reasons and words of what is not done of an object; None when it is not served here."""
        return self.follower.problems(origin) if origin in self.follower.served else None

    def problems(self) -> list[str]:
        """What stands in the way of serving all, in words."""
        found = [self.executor.problem, *self.executor.closed.values()]
        if self.away_since is not None:
            found.append("the API server cannot be reached: the last known routes are served")
        return [words for words in found if words]

    def _settled(self, origins: set[Origin]) -> None:
        self.reporter.look({origin for origin in origins if origin.kind == "Ingress"})
        self.gateway_reporter.look(origins)

    def _look_at_all(self) -> None:
        """A port was opened, or cannot be."""
        self.reporter.look({origin for origin in self.follower.served if origin.kind == "Ingress"})
        self.follower.gateway_api.touch_all()

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
from knarr.client.leader import Leadership
from knarr.service.tasks import run_together
from services.gateway.executor import Executor
from services.gateway.follower import Follower
from services.gateway.gateway_reporter import GatewayReporter
from services.gateway.publication import Ports, Publication
from services.gateway.reporter import IngressReporter
from services.gateway.rest import Rest
from services.gateway.routing.table import Origin, number_of
from services.gateway.settings import LEASE, GatewaySettings


class Instance:
    """Its parts are run by others."""

    def __init__(self, client: Client, settings: GatewaySettings, rest: Rest, clock: Clock) -> None:
        self.settings, self._rest = settings, rest
        self.executor = Executor(settings, self._look_at_all)
        self.follower = Follower(client, settings, rest, self.executor, clock, self._settled)
        self.leadership = Leadership(client, LEASE, settings.election, clock=clock)
        told = self.leadership.guarded(client)
        self.recorder = EventRecorder(told, "knarr-gateway", socket.gethostname(), clock=clock)
        self.gateway_reporter = GatewayReporter(
            told, self.follower.gateway_api, clock, lambda: self.addresses, lambda: self.executor.problem
        )
        self.reporter = IngressReporter(told, self.recorder, rest.ingresses.store, lambda: self.addresses, self.problems_of)
        self.publication = (
            Publication(client, settings.published, self._ports, lambda: not self.leadership.standing_by, self._look_at_all, clock)
            if settings.published is not None
            else None
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """What is told in the status of what is served: addresses, or names of load balancers that have such; none: nothing."""
        if self.publication is not None:
            return self.publication.addresses
        return (self.settings.status_address,) if self.settings.status_address else ()

    async def tell(self) -> None:
        """Writes what objects are told, as long as this one is whose turn that is; until cancelled."""

        async def lead() -> None:
            # Another one may have stopped in the middle of it.
            self._look_at_all()
            await run_together(
                "gateway",
                {"reporter": self.reporter.run(), "gateway-reporter": self.gateway_reporter.run(), "events": self.recorder.run()},
            )

        await self.leadership.run(lead)

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
        if self.publication is not None:
            found.append(self.publication.problem)
        if self.away_since is not None:
            found.append("the API server cannot be reached: the last known routes are served")
        return [words for words in found if words]

    def _ports(self) -> Ports:
        """TLS that is passed on and TLS that ends here may share one."""
        listens, executor = self.settings.listens, self.executor
        numbers = sorted({number_of(port) for port in executor.listeners})
        ready = executor.serves and self.follower.synced
        return Ports(tuple((port, listens(port)) for port in numbers), frozenset(executor.closed), ready)

    def _settled(self, origins: set[Origin]) -> None:
        if self.publication is not None:
            self.publication.look()
        self.reporter.look(origins)
        self.gateway_reporter.look(origins)

    def _look_at_all(self) -> None:
        """A port was opened, or cannot be; or it is reached elsewhere."""
        if self.publication is not None:
            self.publication.look()
        self.reporter.look(self.follower.served)
        self.follower.gateway_api.touch_all()

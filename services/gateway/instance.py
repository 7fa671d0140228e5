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
from services.gateway.entrances import Entrance, Entrances, entrance_of
from services.gateway.executor import Executor
from services.gateway.follower import Follower
from services.gateway.gateway_reporter import GatewayReporter
from services.gateway.publication import Publication
from services.gateway.reporter import IngressReporter
from services.gateway.rest import Rest
from services.gateway.routing.table import Origin, entry_of, number_of, scope_of
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
        self.gateway_reporter = GatewayReporter(told, self.follower.gateway_api, clock, self.addresses_of, self._problem_of, self._refused)
        self.reporter = IngressReporter(told, self.recorder, rest.ingresses.store, lambda: self.addresses, self.problems_of)
        self.publication = (
            Publication(
                client,
                settings.published,
                self._entrances,
                lambda: not self.leadership.standing_by,
                self.follower.gateway_api.gone,
                self._look_at_all,
                clock,
            )
            if settings.published is not None
            else None
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """What is told in the status of what is served: addresses, or names of load balancers that have such; none: nothing."""
        if self.publication is not None:
            return self.publication.addresses
        return (self.settings.status_address,) if self.settings.status_address else ()

    @property
    def scopes(self) -> dict[int, str]:
        """What stands for addresses of their own, with the Gateways that have them, as NAMESPACE/NAME."""
        return {scope: f"{origin.namespace}/{origin.name}" for origin, scope in self.follower.gateway_api.scopes.items()}

    def addresses_of(self, gateway: Origin) -> tuple[str, ...]:
        """Those of a Gateway: its own, where each has such."""
        if self.publication is not None and self.settings.apart:
            return self.publication.addresses_of(gateway)
        return self.addresses

    def _problem_of(self, gateway: Origin) -> str:
        """Why nothing of a Gateway is in force, in words; empty: it is."""
        return self.executor.problem or (self.publication.problem_of(gateway) if self.publication is not None else "")

    def _refused(self, route: Origin) -> str:
        return self.executor.program.refused.get(route, "")

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

    def _entrances(self) -> Entrances:
        executor, api = self.executor, self.follower.gateway_api
        assert self.settings.published is not None
        shared = self.settings.published.service
        found = [Entrance(shared, *self._ports(0))]
        for gateway, scope in sorted(api.scopes.items()):
            if (made := api.object(gateway)) is not None:
                found.append(entrance_of(shared, gateway, made, *self._ports(scope)))
        return Entrances(tuple(found), executor.serves and self.follower.synced)

    def _ports(self, scope: int) -> tuple[tuple[tuple[int, int], ...], frozenset[int]]:
        """What is to be served at an address, each port with the one that is opened for it; and those that cannot be opened. TLS that is
        passed on and TLS that ends here may share one."""
        executor = self.executor
        entries = sorted({entry_of(port) for port in executor.listeners if scope_of(port) == scope})
        closed = frozenset(number_of(entry) for entry in executor.closed if scope_of(entry) == scope)
        return tuple((number_of(entry), executor.listens(entry)) for entry in entries), closed

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

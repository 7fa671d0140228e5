"""A component of which several may run and one acts."""

from __future__ import annotations

import abc

from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.leader import Election, Leadership
from knarr.service.component import Component


class ElectedComponent(Component):
    """Leads or stands by. What it knows is made anew in ``_lead``, so that nothing acts on what it remembers from before."""

    def __init__(self, client: Client, lease: str, election: Election, clock: Clock) -> None:
        """``lease`` is a name in ``kube-system``."""
        self._leadership = Leadership(client, lease, election, clock=clock)
        # For the work: it writes only while this one leads.
        self._client = self._leadership.guarded(client)

    @property
    @abc.abstractmethod
    def working(self) -> bool:
        """Whether it leads and does its work."""

    @abc.abstractmethod
    async def _lead(self) -> None:
        """The work, until it is cancelled: begun each time this one leads, cancelled when it no longer does."""

    @property
    def ready(self) -> bool:
        """True while it works, and while another one leads."""
        return self.working or self._leadership.standing_by

    async def run(self) -> None:
        await self._leadership.run(self._lead)

"""What every controller is: a name, a queue of keys and the reconcile of one key."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import ClassVar

from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.events import EventRecorder
from knarr.client.informer import Informers
from knarr.client.reconciler import Again, Reconciler
from knarr.objects.keys import Key
from services.controller.settings import ControllerSettings

# After a long outage of the API server the controllers are back at work within this limit.
RETRY = Backoff(first_seconds=0.005, limit_seconds=15.0, jitter=0.2)


@dataclass(frozen=True, slots=True)
class Context:
    """What the controllers of one manager share."""

    client: Client
    informers: Informers
    recorder: EventRecorder
    settings: ControllerSettings
    clock: Clock = field(default=SYSTEM_CLOCK)


class Controller(abc.ABC):
    """Watches through the shared informers, decides in ``decide.py``, acts here.

    The constructor registers the informer handlers; it runs before the informers start.
    """

    name: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client
        self.queue = Reconciler(self.name, self.reconcile, workers=context.settings.workers, backoff=RETRY)

    @abc.abstractmethod
    async def reconcile(self, key: Key) -> Again | None:
        """Brings what ``key`` names one step nearer to what is wanted."""

    async def run(self) -> None:
        """Works until cancelled; the informers are synced by then."""
        await self.queue.run()

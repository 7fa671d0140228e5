"""What every cloud controller is: a name, a queue of keys and the reconcile of one key."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import ClassVar

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.events import EventRecorder
from knarr.client.informer import Informers
from knarr.client.reconciler import Again, Reconciler
from knarr.objects.keys import Key
from services.cloud.provider import CloudProvider
from services.cloud.settings import CloudSettings

# For errors of the API server; those of the provider have settings of their own.
RETRY = Backoff(first_seconds=0.005, limit_seconds=15.0, jitter=0.2)


@dataclass(frozen=True, slots=True)
class Context:
    """What the cloud controllers share. ``info`` says which of the provider's calls may be used."""

    client: Client
    informers: Informers
    recorder: EventRecorder
    provider: CloudProvider
    info: cloud.GetInfoResponse
    settings: CloudSettings
    clock: Clock = field(default=SYSTEM_CLOCK)

    @property
    def provider_backoff(self) -> Backoff:
        """The waits between tries of a provider's call."""
        return Backoff(self.settings.retry_first_seconds, self.settings.retry_limit_seconds, jitter=0.2)


class CloudController(abc.ABC):
    """Watches through the shared informers, decides in ``decide.py``, acts here.

    It is made once the provider has said what it can do; the informers run already.
    """

    name: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client
        self.provider = context.provider
        self.queue = Reconciler(self.name, self.reconcile, workers=context.settings.workers, backoff=RETRY, clock=context.clock)

    @classmethod
    @abc.abstractmethod
    def wanted(cls, info: cloud.GetInfoResponse, settings: CloudSettings) -> bool:
        """Whether there is work for it with such a provider."""

    @abc.abstractmethod
    async def reconcile(self, key: Key) -> Again | None:
        """Brings what ``key`` names one step nearer to what is wanted."""

    def sync(self, key: Key) -> None:
        """Reconciles a key now, because somebody asks for it."""
        self.queue.enqueue(key)

    async def run(self) -> None:
        """Works until cancelled; the informers are synced by then."""
        await self.queue.run()

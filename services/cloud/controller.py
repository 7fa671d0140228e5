"""What the cloud controllers share, and what each of them is."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.controller import Controller
from knarr.client.events import EventRecorder
from knarr.client.informer import Informers
from knarr.objects.keys import Key
from services.cloud.provider import CloudProvider
from services.cloud.settings import CloudSettings


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


class CloudController(Controller):
    """A controller that asks a provider.

    It is made once the provider has said what it can do; the informers run already.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context.informers, workers=context.settings.workers, clock=context.clock)
        self.context = context
        self.client = context.client
        self.provider = context.provider

    @classmethod
    @abc.abstractmethod
    def wanted(cls, info: cloud.GetInfoResponse, settings: CloudSettings) -> bool:
        """Whether there is work for it with such a provider."""

    def sync(self, key: Key) -> None:
        """Reconciles a key now, because somebody asks for it."""
        self.queue.enqueue(key)

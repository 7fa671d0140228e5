"""What controllers that ask drivers have in common. They act for the drivers that the manager was told of, and for no other: others
bring their own controllers, which are ordinary clients of the API."""

from __future__ import annotations

import abc
from typing import ClassVar

from google.protobuf.message import Message

from knarr.client.backoff import Backoff
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict
from knarr.objects.keys import Key
from services.controller.controller import Controller
from services.controller.csi.driver import Driver

# What a driver cannot do is asked of it again that seldom: somebody may have mended the class, or the driver.
INFEASIBLE_SECONDS = 300.0
# Somebody else wrote first: the copy shows it in a moment.
CONFLICT_SECONDS = 0.1


class DriverController(Controller):
    """``sync`` does what ``reconcile`` does; conflicts are looked at again at once, errors of drivers ever more slowly."""

    # Of these most wait for a driver.
    workers: ClassVar[int | None] = 32
    retry: ClassVar[Backoff] = Backoff(first_seconds=1.0, limit_seconds=120.0, jitter=0.2)

    async def reconcile(self, key: Key) -> Again | None:
        try:
            return await self.sync(key)
        except Conflict:
            return Again(CONFLICT_SECONDS)

    @abc.abstractmethod
    async def sync(self, key: Key) -> Again | None: ...

    def driver(self, name: str) -> Driver | None:
        return self.context.drivers.get(name)

    def tell(self, obj: Message, reason: str, words: str) -> None:
        self.recorder.event(obj, NORMAL, reason, words)

    def warn(self, obj: Message, reason: str, words: str) -> None:
        self.recorder.event(obj, WARNING, reason, words)

"""Events for people: what happened to an object, and why.

``EventRecorder.event`` never waits and never raises. Events go through a bounded queue to ``run``,
which writes those of one object in their order. The same event again raises ``count`` on the stored one;
many events of one reason that differ only in their message are combined; an object that causes
too many is muted for a while. What does not fit the queue is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.event_correlator import Correlator, Stored
from knarr.machinery.errors import TRANSIENT, NotFound, StatusError
from knarr.machinery.forms import write_seconds
from knarr.machinery.type_names import names_of
from knarr.objects.keys import metadata_of

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 4000
LANES = 8
NORMAL, WARNING = "Normal", "Warning"
RETRY = Backoff(first_seconds=0.2, limit_seconds=10.0, jitter=0.5)
MAX_TRIES = 8


@dataclass(frozen=True, slots=True)
class _Queued:
    event: core.Event
    at: datetime


@dataclass(slots=True)
class _Lane:
    """Events of some of the objects, written one after the other."""

    queue: deque[_Queued] = field(default_factory=deque)
    filled: asyncio.Event = field(default_factory=asyncio.Event)


class EventRecorder:
    """Records events as one component on one host. ``run`` it, else nothing is written."""

    def __init__(self, client: Client, component: str, host: str = "", *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._lanes = [_Lane() for _ in range(LANES)]
        self._correlator = Correlator()
        self._last_stamp = 0
        # Events that were dropped: the queue was full, the object was muted or the server refused.
        self.dropped = 0

    def event(self, obj: Message, event_type: str, reason: str, message: str, *, field_path: str = "", component: str = "") -> None:
        """Queues an event about an object. ``event_type`` is Normal or Warning, ``reason`` a CamelCase word.

        ``field_path`` names a part of the object, such as ``spec.containers{web}``; ``component`` who says so, where the recorder speaks
        for several.
        """
        if self.pending >= QUEUE_LIMIT:
            self.dropped += 1
            return
        now = self._clock.now()
        try:
            event = self._draft(obj, event_type, reason, message, field_path, component or self._component, now)
        except Exception:
            self.dropped += 1
            logger.exception("an event could not be made", extra={"reason": reason})
            return
        lane = self._lanes[hash(event.involved_object.uid or event.involved_object.name) % LANES]
        lane.queue.append(_Queued(event, now))
        lane.filled.set()

    @property
    def pending(self) -> int:
        """Events that wait to be written."""
        return sum(len(lane.queue) for lane in self._lanes)

    async def run(self) -> None:
        """Writes queued events until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for number, lane in enumerate(self._lanes):
                group.create_task(self._drain(lane), name=f"events {number}")

    async def flush(self) -> None:
        """Writes what is queued now; for a stop, bounded by the caller."""
        for lane in self._lanes:
            while lane.queue:
                await self._record(lane.queue.popleft())

    async def _drain(self, lane: _Lane) -> None:
        while True:
            await lane.filled.wait()
            while lane.queue:
                await self._record(lane.queue.popleft())
            lane.filled.clear()

    def _draft(self, obj: Any, event_type: str, reason: str, message: str, field_path: str, component: str, now: datetime) -> core.Event:
        metadata = metadata_of(obj)
        event = core.Event(reason=reason, message=message, type=event_type, count=1, reporting_component=component)
        event.metadata.namespace = metadata.namespace or "default"
        # Two events about one object in one tick of the clock are two objects.
        self._last_stamp = max(self._last_stamp + 1, int(now.timestamp() * 1e9))
        event.metadata.name = f"{metadata.name}.{self._last_stamp:x}"
        about = event.involved_object
        (about.api_version, about.kind), about.field_path = names_of(type(obj)), field_path
        about.namespace, about.name, about.uid = metadata.namespace, metadata.name, metadata.uid
        about.resource_version = metadata.resource_version
        event.source.component, event.source.host = component, self._host
        event.reporting_instance = self._host
        event.first_timestamp.seconds = event.last_timestamp.seconds = int(now.timestamp())
        return event

    async def _record(self, queued: _Queued) -> None:
        decision = self._correlator.observe(queued.event, queued.at.timestamp())
        if decision is None:
            self.dropped += 1
            return
        event, stored = decision
        for attempt in range(1, MAX_TRIES + 1):
            try:
                await self._write(event, stored)
                return
            except StatusError as error:
                if not isinstance(error, TRANSIENT) or attempt == MAX_TRIES:
                    self._drop(event, error)
                    return
                await asyncio.sleep(RETRY.delay(attempt))
            except Exception as error:
                self._drop(event, error)
                return

    async def _write(self, event: core.Event, stored: Stored | None) -> None:
        if stored is not None:
            patch = {"count": event.count, "message": event.message, "lastTimestamp": write_seconds(event.last_timestamp.seconds)}
            try:
                await self._client.patch(core.Event, stored.name, stored.namespace, patch=patch)
                return
            except NotFound:
                # Others have removed it: it is told anew.
                pass
        await self._client.create(event)
        self._correlator.stored(event)

    def _drop(self, event: core.Event, error: Exception) -> None:
        self.dropped += 1
        logger.info("an event was dropped", extra={"event": event.metadata.name, "reason": event.reason, "error": str(error)})


@dataclass(frozen=True, slots=True)
class EventSource:
    """One of several for whom a recorder speaks."""

    recorder: EventRecorder
    component: str

    def event(self, obj: Message, event_type: str, reason: str, message: str) -> None:
        self.recorder.event(obj, event_type, reason, message, component=self.component)

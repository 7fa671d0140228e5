"""Which events are the same, which to combine and which to mute: pure, with time given in.

What is remembered is known by its hash, not by its words: those of thousands of pods that are gone would be megabytes in each component.
That two of them have one hash of 64 bits, and are counted as one, happens less often than machines fail.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from knarr.api.core.v1 import core_pb2 as core

V = TypeVar("V")

REMEMBERED = 4096
SIMILAR_LIMIT = 10
SIMILAR_WINDOW_SECONDS = 600.0
COMBINED_PREFIX = "(combined from similar events): "
BURST = 25
REFILL_PER_SECOND = 1 / 300


class _Recent(Generic[V]):
    """A dictionary by hashes that forgets what was used longest ago."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._entries: OrderedDict[int, V] = OrderedDict()

    def get(self, key: int) -> V:
        if key not in self._entries:
            self._entries[key] = self._make()
            if len(self._entries) > REMEMBERED:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return self._entries[key]


@dataclass(slots=True)
class _Bucket:
    """Tokens of one object; each event costs one."""

    tokens: float = BURST
    at: float = 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.tokens + max(now - self.at, 0.0) * REFILL_PER_SECOND, BURST)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _Similar:
    """Messages, by their hashes, seen for one object and reason within the window."""

    since: float = 0.0
    messages: tuple[int, ...] = ()


@dataclass(slots=True)
class Stored:
    """The event object that stands for all repetitions."""

    namespace: str = ""
    name: str = ""
    count: int = 0
    first_seconds: int = 0


class Correlator:
    """Decides for each new event: create it, count it on a stored one, or mute it."""

    def __init__(self) -> None:
        self._buckets: _Recent[_Bucket] = _Recent(_Bucket)
        self._similar: _Recent[_Similar] = _Recent(_Similar)
        self._stored: _Recent[Stored] = _Recent(Stored)

    def observe(self, event: core.Event, now: float) -> tuple[core.Event, Stored | None] | None:
        """The event to write, with the stored one to count it on, or None to mute it. Unix seconds."""
        if not self._buckets.get(_object_key(event)).take(now):
            return None
        combined = self._combine(event, now)
        known = self._stored.get(_event_key(event, combined))
        known.count += 1
        event.count = known.count
        if known.count == 1:
            known.first_seconds = event.first_timestamp.seconds
        event.first_timestamp.seconds = known.first_seconds
        return event, known if known.name else None

    def stored(self, event: core.Event) -> None:
        """Remembers under which name an event was created."""
        known = self._stored.get(_event_key(event, event.message.startswith(COMBINED_PREFIX)))
        known.namespace, known.name = event.metadata.namespace, event.metadata.name

    def _combine(self, event: core.Event, now: float) -> bool:
        similar = self._similar.get(_reason_key(event))
        if now - similar.since > SIMILAR_WINDOW_SECONDS:
            similar.messages = ()
        similar.since = now
        message = hash(event.message)
        if message not in similar.messages and len(similar.messages) < SIMILAR_LIMIT:
            similar.messages += (message,)
        if len(similar.messages) < SIMILAR_LIMIT:
            return False
        event.message = COMBINED_PREFIX + event.message
        return True


def _object_key(event: core.Event) -> int:
    about = event.involved_object
    return hash((event.source.component, event.source.host, about.kind, about.namespace, about.name, about.uid, about.api_version))


def _reason_key(event: core.Event) -> int:
    return hash((_object_key(event), event.involved_object.field_path, event.type, event.reason))


def _event_key(event: core.Event, combined: bool) -> int:
    return hash((_reason_key(event), "" if combined else event.message))

"""When the change happened that endpoints are written for: what network programming latency is measured from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.forms import write_seconds
from knarr.objects.keys import Key, metadata_of
from services.controller.endpoints.backends import Backend

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(frozen=True, slots=True)
class Seen:
    """Times by which a Service and its pods changed last, in Unix seconds; ``pods`` by name."""

    service: int = 0
    pods: dict[str, int] = field(default_factory=dict)


class TriggerTimes:
    """Remembers what was written for each Service. ``changed`` is asked before a write, ``wrote`` told after it."""

    def __init__(self) -> None:
        self._seen: dict[Key, Seen] = {}

    def changed(self, key: Key, service: core.Service, backends: Iterable[Backend]) -> tuple[str, Seen]:
        """The earliest of the changes since the last write (RFC 3339; empty when none is known), and what to tell ``wrote``."""
        now = Seen(service.metadata.creation_timestamp.seconds, {backend.name: backend.ready_changed for backend in backends})
        before = self._seen.get(key)
        if before is None:
            return _text(now.service), now
        times = [time for name, time in now.pods.items() if time > before.pods.get(name, 0)]
        if now.service > before.service:
            times.append(now.service)
        return _text(min(times, default=0)), now

    def wrote(self, key: Key, seen: Seen) -> None:
        self._seen[key] = seen

    def forget(self, key: Key) -> None:
        self._seen.pop(key, None)


def stamp(obj: Message, trigger: str) -> None:
    """Says in an object that is about to be written what it is written for."""
    annotations = metadata_of(obj).annotations
    if trigger:
        annotations[ANNOTATION] = trigger
    else:
        annotations.pop(ANNOTATION, None)


def _text(seconds: int) -> str:
    return write_seconds(seconds) if seconds else ""

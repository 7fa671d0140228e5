"""Objects, revisions and history of the shipped fake API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from knarr.client.client import ADDED, BOOKMARK, DELETED, MODIFIED, WatchEvent
from knarr.machinery.errors import StatusError, expired, status_error
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of, metadata_of

M = TypeVar("M", bound=Message)

Matches = Callable[[Message], bool]


@dataclass(frozen=True, slots=True)
class Change:
    """One write. ``old`` is None for a create; ``new`` is the last state of a deleted object."""

    revision: int
    message_type: type[Message] | None
    old: Message | None
    new: Message | None
    deleted: bool = False


class MemoryStore:
    """Keeps every object at its newest revision and a history that watches read.

    Objects in it are never changed, only replaced. ``compact`` forgets history, so that a watch
    from an older revision gets Expired; ``break_watches`` ends every open watch.
    """

    def __init__(self) -> None:
        self.revision = 1
        self._objects: dict[type[Message], dict[Key, Message]] = {}
        self._history: list[Change] = []
        self._first = 0
        self._compacted = 0
        self._epoch = 0
        self._break_error: StatusError | None = None
        self._changed = asyncio.Event()

    def get(self, message_type: type[M], key: Key) -> M | None:
        """The stored object itself: read only."""
        return self._objects.get(message_type, {}).get(key)  # type: ignore[return-value]

    def list(self, message_type: type[M], namespace: str) -> Sequence[M]:
        """The stored objects, in the order of their keys."""
        objects = self._objects.get(message_type, {})
        return [objects[key] for key in sorted(objects) if namespace in ("", key.namespace)]  # type: ignore[misc]

    def put(self, obj: M) -> M:
        """Stores the object at a new revision and takes it over."""
        self.revision += 1
        metadata_of(obj).resource_version = str(self.revision)
        objects = self._objects.setdefault(type(obj), {})
        old = objects.get(key_of(obj))
        objects[key_of(obj)] = obj
        self._record(Change(self.revision, type(obj), old, obj))
        return obj

    def remove(self, message_type: type[M], key: Key) -> M:
        """Deletes an object; its last state carries the revision of the delete."""
        self.revision += 1
        old = self._objects[message_type].pop(key)
        last = copy_of(old)
        metadata_of(last).resource_version = str(self.revision)
        self._record(Change(self.revision, message_type, old, last, deleted=True))
        return last  # type: ignore[return-value]

    def bookmark(self) -> None:
        """Sends every watch a bookmark."""
        self._record(Change(self.revision, None, None, None))

    def compact(self) -> None:
        """Forgets the history up to now."""
        self._compacted = self.revision
        self._first += len(self._history)
        self._history.clear()
        self._wake()

    def break_watches(self, error: StatusError | None = None) -> None:
        """Ends every open watch: with the error, or as a server does that goes away."""
        self._epoch += 1
        self._break_error = error or status_error("ServiceUnavailable", "the connection was lost")
        self._wake()

    async def watch(
        self, message_type: type[M], namespace: str, revision: int | None, matches: Matches
    ) -> AsyncGenerator[Sequence[WatchEvent[M]], None]:
        """Batches of changes after ``revision``; None starts with what is there as ADDED."""
        epoch = self._epoch
        if revision is None:
            found = [obj for obj in self.list(message_type, namespace) if matches(obj)]
            position = self._first + len(self._history)
            if found:
                yield [WatchEvent(ADDED, obj) for obj in found]
        else:
            position = self._position_after(revision)
        while True:
            if self._epoch != epoch:
                assert self._break_error is not None
                raise self._break_error
            if position < self._first:
                raise expired("too old resource version: the history was compacted")
            changes = self._history[position - self._first :]
            position += len(changes)
            batch = [event for change in changes if (event := _event(change, message_type, namespace, matches))]
            if batch:
                yield batch
            elif not changes:
                await self._changed.wait()

    def _position_after(self, revision: int) -> int:
        if revision < self._compacted:
            raise expired(f"too old resource version: {revision} ({self._compacted})")
        if revision > self.revision:
            raise status_error("Timeout", f"Too large resource version: {revision}, current: {self.revision}")
        return self._first + sum(1 for change in self._history if change.revision <= revision)

    def _record(self, change: Change) -> None:
        self._history.append(change)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _event(change: Change, message_type: type[M], namespace: str, matches: Matches) -> WatchEvent[M] | None:
    if change.message_type is None:
        bookmark = message_type()
        metadata_of(bookmark).resource_version = str(change.revision)
        return WatchEvent(BOOKMARK, bookmark)
    new = change.new
    if change.message_type is not message_type or new is None or namespace not in ("", key_of(new).namespace):
        return None
    was, is_now = change.old is not None and matches(change.old), not change.deleted and matches(new)
    if not was and not is_now:
        return None
    kind = DELETED if not is_now else MODIFIED if was else ADDED
    return WatchEvent(kind, new)  # type: ignore[arg-type]

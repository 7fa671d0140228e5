"""The objects of one resource in memory, in key order, with their history and their watchers.

Everything here is synchronous: a batch is applied whole before anybody else runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from knarr.client.client import ADDED, DELETED, MODIFIED
from knarr.machinery.resources import Resource
from services.apiserver.cache.history import History, HistoryChange, Limits
from services.apiserver.cache.ordered import Ordered
from services.apiserver.cache.sleepers import Sleepers
from services.apiserver.cache.terms import TermWaiters
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry
from services.apiserver.results import Event

# Of namespaces that have nothing: so many are remembered.
MOST_ABSENT = 4096
NONE = Entries()


class Collection:
    """One resource. ``revision`` arguments are those of the change being applied."""

    def __init__(self, resource: Resource, floor: int, limits: Limits) -> None:
        self.resource = resource
        self.history = History(floor, limits)
        self.size_bytes = 0
        self._entries: dict[str, Entry] = {}
        self._ordered = Ordered()
        self._listings: dict[str, Entries] = {}
        # Prefixes that were asked for, and nothing begins with: admission asks of each namespace for what limits it.
        self._absent: set[str] = set()
        self._waiting: set[asyncio.Future[bool]] = set()
        self._listeners: list[Callable[[], None]] = []
        self.sleepers = Sleepers()
        self.terms = TermWaiters(self.history)
        # Set when the resource is served no more: every watch ends.
        self.closed = False

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def listing(self, prefix: str) -> Entries:
        """All entries whose key begins with ``prefix`` (the resource's own or one namespace's), as they are now.

        Those of the resource, and of a namespace that has any, are the same until one of them changes."""
        found = self._listings.get(prefix)
        if found is None:
            if prefix in self._absent:
                return NONE
            found = self._ordered.between(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))
            if found.blocks or prefix == self.resource.key_prefix:
                self._listings[prefix] = found
            else:
                # What is asked of namespaces that have none, or are not there, would be kept for ever.
                if len(self._absent) >= MOST_ABSENT:
                    self._absent.clear()
                self._absent.add(prefix)
        return found

    def put(self, entry: Entry, at_seconds: float) -> None:
        """Stores a new or changed object and remembers the change."""
        previous = self._entries.get(entry.key)
        self.terms.note(entry, *(() if previous is None else (previous,)))
        self._entries[entry.key] = entry
        self._ordered.put(entry)
        self._forget_listings(entry.key)
        self.size_bytes += len(entry.raw) - (len(previous.raw) if previous else 0)
        event = Event(ADDED if previous is None else MODIFIED, entry.revision, entry)
        self.history.append(HistoryChange(event, previous, at_seconds))

    def remove(self, key: str, revision: int, at_seconds: float) -> None:
        """Forgets an object; its last state goes into the history with the deletion's revision."""
        previous = self._entries.pop(key, None)
        if previous is None:
            return
        self.terms.note(previous)
        self._ordered.remove(key)
        self._forget_listings(key)
        self.size_bytes -= len(previous.raw)
        self.history.append(HistoryChange(Event(DELETED, revision, previous.at(revision)), previous, at_seconds))

    def replace(self, entries: Sequence[Entry], revision: int) -> None:
        """Starts anew with ``entries`` in key order; the history and every watch end here."""
        self._entries = {entry.key: entry for entry in entries}
        self._ordered = Ordered(entries)
        self._listings.clear()
        self._absent.clear()
        self.size_bytes = sum(len(entry.raw) for entry in entries)
        self.history.forget(revision)
        self.terms.wake_all()
        self.wake()

    def __iter__(self) -> Iterator[str]:
        """Keys in order."""
        return (entry.key for entry in self._ordered)

    def close(self) -> None:
        """Ends every watch; nobody reads the history any more."""
        self.closed = True
        self.history.forget(self.history.floor)
        self.terms.wake_all()
        self.wake()

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` behind every change, at once: for what is derived of all objects."""
        self._listeners.append(listener)

    def wake(self) -> None:
        """Lets the waiting watchers look at the history."""
        for listener in self._listeners:
            listener()
        for future in self._waiting:
            _resolve(future, True)
        self._waiting.clear()
        self.terms.wake()
        self.sleepers.wake()

    async def changed(self, timeout_seconds: float) -> bool:
        """Waits for the next change; False when none came in time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.add(future)
        timer = loop.call_later(timeout_seconds, _resolve, future, False)
        try:
            return await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def _forget_listings(self, key: str) -> None:
        if self._listings or self._absent:
            prefix = key[: key.rindex("/") + 1]
            self._listings.pop(self.resource.key_prefix, None)
            self._listings.pop(prefix, None)
            self._absent.discard(prefix)


def _resolve(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)

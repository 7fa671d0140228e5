"""Watchers that wait for a change of objects whose field has a certain value.

A kubelet watches the pods of its node, and its own Node by name. Were it woken for those of all nodes, each change of a pod, and each
report of a node, would cost as much as there are nodes.
Who was not woken learns with the next waking from where on he has to look: nothing before that concerned him, and it may have left
the history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from google.protobuf.message import DecodeError

from services.apiserver.cache.history import History, HistoryChange
from services.apiserver.entry import Entry, Selectable

NAME = "metadata.name"


class Field(NamedTuple):
    """A field that selectors may ask for, by the rules of its kind."""

    rules: Selectable
    name: str

    def of(self, entry: Entry) -> str:
        return entry.name if self.name == NAME else entry.fields(self.rules).get(self.name, "")


class Term(NamedTuple):
    """Objects whose field has that value."""

    field: Field
    value: str

    def concerns(self, change: HistoryChange) -> bool:
        """Whether the object had the value or has it. Most changes that a watcher looks through are not its own."""
        found = (change.event.entry, change.previous)
        return any(entry is not None and self.field.of(entry) == self.value for entry in found)


class TermWaiters:
    """Those of one collection. Who waits is woken once, and waits anew."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._waiting: dict[Field, dict[str, set[asyncio.Future[int | None]]]] = {}
        # What has changed and nobody was told of, as it was and as it is; and where that begins.
        self._untold: list[Entry] = []
        self._begins = 0

    def note(self, *entries: Entry) -> None:
        """Takes note of a change that is about to enter the history: of the object before and after it."""
        if self._waiting:
            if not self._untold:
                self._begins = self._history.end
            self._untold += entries

    def wake(self) -> None:
        """Wakes whom the changes concern that were noted; everybody where it is not about changes."""
        if not self._untold:
            self.wake_all()
            return
        for field, waiting in list(self._waiting.items()):
            for value in self._values(field) or list(waiting):
                _resolve(waiting.pop(value, ()), self._begins)
            if not waiting:
                del self._waiting[field]
        self._untold.clear()

    def _values(self, field: Field) -> set[str]:
        """What the field is in the objects that have changed; nothing where one of them cannot be read: whoever looks finds that out for
        himself, and it must hold up nobody else."""
        try:
            return {field.of(entry) for entry in self._untold}
        except (ValueError, DecodeError):
            return set()

    def wake_all(self) -> None:
        """Wakes everybody: the history is not what it was."""
        for waiting in self._waiting.values():
            for futures in waiting.values():
                _resolve(futures, None)
        self._waiting.clear()
        self._untold.clear()

    async def wait(self, term: Term, timeout_seconds: float) -> int | None:
        """Waits for a change that concerns the term, or for the time to pass. Answers the position in the history before which nothing has
        happened meanwhile that concerns it; None where that cannot be said."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int | None] = loop.create_future()
        futures = self._waiting.setdefault(term.field, {}).setdefault(term.value, set())
        futures.add(future)
        # What happens between this and the waiter's turn is still to be looked at.
        timer = loop.call_later(timeout_seconds, lambda: _resolve((future,), self._history.end))
        try:
            return await future
        finally:
            timer.cancel()
            self._leave(term, futures, future)

    def _leave(self, term: Term, futures: set[asyncio.Future[int | None]], future: asyncio.Future[int | None]) -> None:
        """Others of the term may wait already for the next time."""
        futures.discard(future)
        waiting = self._waiting.get(term.field, {})
        if not futures and waiting.get(term.value) is futures:
            del waiting[term.value]
            if not waiting:
                del self._waiting[term.field]


def _resolve(futures: Iterable[asyncio.Future[int | None]], position: int | None) -> None:
    for future in futures:
        if not future.done():
            future.set_result(position)

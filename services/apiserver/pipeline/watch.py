"""Watches: batches of changes read from the cache's history at the watcher's own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import ADDED, BOOKMARK, DELETED
from knarr.machinery.errors import StatusError, expired
from services.apiserver.backend import Backend, parse_revision
from services.apiserver.cache.collection import Collection
from services.apiserver.cache.history import HistoryChange, Overrun
from services.apiserver.cache.sleepers import Sleeper
from services.apiserver.entries import BLOCK, Entries
from services.apiserver.entry import Entry
from services.apiserver.metrics import WATCHERS
from services.apiserver.pipeline.list_options import check_watch_options
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import catch_up
from services.apiserver.pipeline.selection import Selection
from services.apiserver.request import Request
from services.apiserver.results import Event

# What a watcher takes at once, and holds while its client does not read: changes, and the bytes of their objects.
BATCH, BATCH_BYTES = 500, 512 * 1024
BOOKMARK_SECONDS = 60.0
LAST_BOOKMARK_SECONDS = 2.0
SHORTEST_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where a watch begins: with the present objects (``initial``) and then after ``revision``."""

    revision: int
    initial: bool


def too_old(revision: int, oldest: int) -> StatusError:
    return expired(f"too old resource version: {revision} ({oldest})")


def selected(change: HistoryChange, selection: Selection) -> Event | None:
    """The change as a watcher with this selection sees it: entering is ADDED, leaving is DELETED."""
    entry = change.event.entry
    if entry is None or not selection.covers(entry.key):
        return None
    if selection.everything:
        return change.event
    was = change.previous is not None and selection.matches(change.previous)
    now = change.event.type != DELETED and selection.matches(entry)
    if now:
        return change.event if was or change.event.type == ADDED else Event(ADDED, change.event.revision, entry)
    if not was or change.previous is None:
        return None
    if change.event.type == DELETED:
        return change.event
    return Event(DELETED, change.event.revision, change.previous.at(entry.revision))


class Watch:
    """A watcher's place in the history of a collection. ``take`` gives what comes next; until there is more, this is all that a watch is.

    Iterated, it waits in the task that asks. It raises Expired when its place is held no longer, and ends at timeoutSeconds.
    """

    __slots__ = (
        "_backend",
        "_bookmarks",
        "_collection",
        "_conversions",
        "_end",
        "_initial",
        "_last_bookmark",
        "_next_bookmark",
        "_pending",
        "_position",
        "_request",
        "_revision",
        "_selection",
        "_term",
        "_version",
        "_watchers",
    )

    def __init__(self, pipeline: Pipeline, request: Request, selection: Selection) -> None:
        self._backend, self._conversions, self._selection = pipeline.backend, pipeline.conversions, selection
        self._version = request.ref.version
        # A webhook may say that a field is another.
        self._term = None if self._is_converted else selection.term
        # Changes that a webhook converts just now; nothing else is taken before them.
        self._pending: asyncio.Task[Sequence[Event]] | None = None
        # None once it has begun, or is over.
        self._request: Request | None = request
        self._collection: Collection | None = None

    async def begin(self) -> None:
        """Waits, until the request's deadline, for the revision that is asked for; raises Expired."""
        assert self._request is not None
        request, backend = self._request, self._backend
        options: meta.ListOptions = request.options
        self._request = None
        await backend.synced(request.deadline)
        collection = backend.cache.collection(request.ref.resource)
        start = await _start(backend, request)
        now = asyncio.get_running_loop().time()
        duration = options.timeout_seconds or backend.source.uniform(SHORTEST_SECONDS, 2 * SHORTEST_SECONDS)
        self._end = now + duration
        self._bookmarks = options.allow_watch_bookmarks
        # Whoever watches on begins there.
        self._last_bookmark = self._end - min(LAST_BOOKMARK_SECONDS, duration / 2)
        self._set_bookmark(now)
        self._revision = start.revision
        self._initial: Iterator[Sequence[Event]] | None = None
        if start.initial:
            self._position = collection.history.end
            announced = backend.cache.revision if options.send_initial_events and options.allow_watch_bookmarks else None
            self._initial = _initial(collection.listing(self._selection.prefix), self._selection, announced, later=self._is_converted)
        else:
            self._position = _position(collection, start.revision)
        self._watchers = WATCHERS.labels(request.ref.version.qualified)
        self._watchers.inc()
        self._collection = collection

    @property
    def has_begun(self) -> bool:
        return self._request is None

    def take(self) -> Sequence[Event] | None:
        """What comes next, nothing while there is no more, None at the end. Raises Expired."""
        collection = self._collection
        if collection is None:
            return None
        if self._pending is not None:
            return self._converted()
        if self._initial is not None:
            if (batch := next(self._initial, None)) is not None:
                return self._in_version([HistoryChange(event, None, 0.0) for event in batch]) if self._is_converted else batch
            self._initial = None
        now = asyncio.get_running_loop().time()
        if now >= self._end or collection.closed:
            self.close()
            return None
        reached = self._backend.cache.revision
        try:
            changes = collection.history.since(self._position, self._selection.portion(BATCH), BATCH_BYTES)
        except Overrun as overrun:
            self.close()
            raise too_old(self._revision, overrun.oldest) from None
        if changes:
            self._position += len(changes)
            if self._is_converted:
                return self._in_version(changes)
            concerned = changes if self._term is None else filter(self._term.concerns, changes)
            return [event for change in concerned if (event := selected(change, self._selection)) is not None]
        if self._bookmarks and now >= self._next_bookmark:
            self._set_bookmark(now)
            return (Event(BOOKMARK, reached),)
        return ()

    @property
    def _is_converted(self) -> bool:
        return self._version.resource.converter is not None

    def _in_version(self, changes: Sequence[HistoryChange]) -> Sequence[Event]:
        """The changes in the version of the watch; nothing yet if a webhook has to be asked first."""
        covered = [change for change in changes if change.event.entry is None or self._selection.covers(change.event.entry.key)]
        entries = _entries_of(covered, self._selection)
        known = self._conversions.at_hand(self._version, entries)
        if known is not None:
            return _events(covered, dict(zip(entries, known, strict=True)), self._selection)
        self._pending = asyncio.create_task(self._convert(covered, entries), name=f"watch/conversion to {self._version.api_version}")
        # Who has left does not ask for it any more.
        self._pending.add_done_callback(lambda task: task.cancelled() or task.exception())
        return ()

    async def _convert(self, changes: Sequence[HistoryChange], entries: Sequence[Entry]) -> Sequence[Event]:
        known = await self._conversions.entries(self._version, entries, inf)
        return _events(changes, dict(zip(entries, known, strict=True)), self._selection)

    def _converted(self) -> Sequence[Event]:
        """What the webhook has made of it, nothing while it is still asked. Raises what it failed with."""
        assert self._pending is not None
        if not self._pending.done():
            return ()
        pending, self._pending = self._pending, None
        try:
            return pending.result()
        except StatusError:
            self.close()
            raise

    def sleep(self, sleeper: Sleeper) -> None:
        """Has ``sleeper`` called once there may be more to take."""
        if self._pending is not None:
            self._pending.add_done_callback(lambda _: sleeper.woken())
        elif self._collection is not None:
            self._collection.sleepers.enter(sleeper, self._alarm_at)

    def leave(self, sleeper: Sleeper) -> None:
        """Has it not called."""
        if self._collection is not None:
            self._collection.sleepers.leave(sleeper)

    @property
    def _alarm_at(self) -> float:
        if self._collection is None or self._initial is not None or self._position < self._collection.history.end:
            return 0.0
        return min(self._end, self._next_bookmark) if self._bookmarks else self._end

    def _set_bookmark(self, now: float) -> None:
        at = now + BOOKMARK_SECONDS * self._backend.source.uniform(0.9, 1.1)
        self._next_bookmark = min(at, self._last_bookmark) if now < self._last_bookmark else inf

    def close(self) -> None:
        """Ends it; a second time nothing happens."""
        self._request = None
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._collection is not None:
            self._collection = None
            self._watchers.dec()

    async def aclose(self) -> None:
        self.close()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Sequence[Event]:
        if not self.has_begun:
            await self.begin()
        while (batch := self.take()) is not None:
            if batch:
                return batch
            if self._pending is not None:
                await asyncio.wait({self._pending})
                continue
            loop, collection = asyncio.get_running_loop(), self._collection
            if collection is not None and (alarm_at := self._alarm_at) > loop.time():
                await self._changed(collection, alarm_at - loop.time())
            else:
                # There is more to look into, and nothing of it was selected so far.
                await asyncio.sleep(0)
        raise StopAsyncIteration

    async def _changed(self, collection: Collection, timeout_seconds: float) -> None:
        """Waits for a change, for one of those that may be selected where that can be said."""
        if self._term is None:
            await collection.changed(timeout_seconds)
        elif (position := await collection.terms.wait(self._term, timeout_seconds)) is not None:
            self._position = max(self._position, position)


async def watch(pipeline: Pipeline, request: Request) -> Watch:
    """A watch that has not begun. Refuses bad options at once. The request's deadline bounds how long it waits to begin, not how long it
    goes on."""
    check_watch_options(request.options)
    parse_revision(request.options.resource_version)
    return Watch(pipeline, request, Selection.of(request.ref, request.options, pipeline.strategies))


async def _start(backend: Backend, request: Request) -> Start:
    options = request.options
    revision = parse_revision(options.resource_version)
    await catch_up(backend, request, options.resource_version)
    if options.HasField("send_initial_events"):
        initial = options.send_initial_events
        return Start(backend.cache.revision if initial or not revision else revision, initial)
    return Start(revision or backend.cache.revision, not revision)


def _position(collection: Collection, revision: int) -> int:
    try:
        return collection.history.position_after(revision)
    except Overrun as overrun:
        raise too_old(revision, overrun.oldest) from None


def _entries_of(changes: Sequence[HistoryChange], selection: Selection) -> Sequence[Entry]:
    """What has to be looked at: with a selection also what was there before."""
    found = [change.event.entry for change in changes]
    if not selection.everything:
        found += [change.previous for change in changes]
    return list(dict.fromkeys(entry for entry in found if entry is not None))


def _events(changes: Sequence[HistoryChange], known: dict[Entry, Entry], selection: Selection) -> Sequence[Event]:
    """The changes as a watcher sees them, given what the entries are in its version."""
    events: list[Event] = []
    for change in changes:
        event = change.event
        if event.entry is None:
            events.append(event)
            continue
        previous = known.get(change.previous) if change.previous is not None else None
        shown = event._replace(entry=known[event.entry])
        if (found := selected(HistoryChange(shown, previous, change.at_seconds), selection)) is not None:
            events.append(found)
    return events


def _initial(entries: Entries, selection: Selection, announced: int | None, *, later: bool) -> Iterator[Sequence[Event]]:
    """Made only as they are taken: a watcher that does not read holds the entries, which are the cache's, and one batch. A batch of which
    nothing is selected is empty: others have their turn before the next is looked into. ``later``: what is selected is looked at when they
    are converted, for a webhook may change it.

    ``announced`` is the revision of the bookmark behind them."""
    rest = iter(entries)
    while block := [*islice(rest, selection.portion(BLOCK))]:
        found = block if selection.everything or later else selection.among(block)
        yield [Event(ADDED, entry.revision, entry) for entry in found]
    if announced is not None:
        yield (Event(BOOKMARK, announced, initial_events_end=True),)

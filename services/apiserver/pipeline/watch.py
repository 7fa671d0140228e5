"""Watches: batches of changes read from the cache's history at the watcher's own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import ADDED, BOOKMARK, DELETED
from knarr.machinery.errors import StatusError, bad_request, expired
from services.apiserver.backend import Backend, parse_revision
from services.apiserver.cache.collection import Collection
from services.apiserver.cache.history import HistoryChange, Overrun
from services.apiserver.entry import Entry
from services.apiserver.metrics import WATCHERS
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
    return Event(DELETED, change.event.revision, Entry(entry.version, entry.key, entry.revision, change.previous.raw))


def check_options(options: meta.ListOptions) -> None:
    """Raises BadRequest for combinations that Kubernetes refuses."""
    if options.HasField("send_initial_events"):
        if options.resource_version_match != "NotOlderThan":
            raise bad_request(
                "sendInitialEvents: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                if not options.resource_version_match
                else f'resourceVersionMatch: Unsupported value: "{options.resource_version_match}": supported values: "NotOlderThan"'
            )
    elif options.resource_version_match:
        raise bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )


async def watch(pipeline: Pipeline, request: Request) -> AsyncIterator[Sequence[Event]]:
    """Batches until timeoutSeconds. Refuses bad options at once; the iterator raises Expired when
    the watcher's place is no longer held. The request's deadline bounds how long it waits to begin, not how long it goes on."""
    ref, options = request.ref, request.options
    check_options(options)
    parse_revision(options.resource_version)
    return _run(pipeline.backend, request, Selection.of(ref, options, pipeline.strategies))


async def _run(backend: Backend, request: Request, selection: Selection) -> AsyncIterator[Sequence[Event]]:
    ref, options = request.ref, request.options
    await backend.synced(request.deadline)
    collection = backend.cache.collection(ref.resource)
    start = await _start(backend, options, request.deadline)
    with WATCHERS.labels(ref.version.qualified).track_inprogress():
        async for batch in _follow(backend, collection, selection, start, options):
            yield batch


async def _start(backend: Backend, options: meta.ListOptions, deadline: float) -> Start:
    revision = parse_revision(options.resource_version)
    await catch_up(backend, options.resource_version, deadline)
    if options.HasField("send_initial_events"):
        initial = options.send_initial_events
        return Start(backend.cache.revision if initial or not revision else revision, initial)
    return Start(revision or backend.cache.revision, not revision)


def _position(collection: Collection, revision: int) -> int:
    try:
        return collection.history.position_after(revision)
    except Overrun as overrun:
        raise too_old(revision, overrun.oldest) from None


async def _follow(
    backend: Backend, collection: Collection, selection: Selection, start: Start, options: meta.ListOptions
) -> AsyncIterator[Sequence[Event]]:
    loop = asyncio.get_running_loop()
    duration = options.timeout_seconds or backend.source.uniform(SHORTEST_SECONDS, 2 * SHORTEST_SECONDS)
    end = loop.time() + duration
    last_bookmark = end - min(LAST_BOOKMARK_SECONDS, duration / 2)
    position = collection.history.end if start.initial else _position(collection, start.revision)
    if start.initial:
        listed = backend.cache.revision
        for batch in _initial(collection, selection):
            yield batch
        if options.send_initial_events and options.allow_watch_bookmarks:
            yield [Event(BOOKMARK, listed, initial_events_end=True)]
    next_bookmark = _next_bookmark(backend, loop.time(), last_bookmark, end)
    while loop.time() < end and not collection.closed:
        reached = backend.cache.revision
        try:
            changes = collection.history.since(position, BATCH, BATCH_BYTES)
        except Overrun as overrun:
            raise too_old(start.revision, overrun.oldest) from None
        if changes:
            position += len(changes)
            events = [event for change in changes if (event := selected(change, selection)) is not None]
            if events:
                yield events
            continue
        if options.allow_watch_bookmarks and loop.time() >= next_bookmark:
            next_bookmark = _next_bookmark(backend, loop.time(), last_bookmark, end)
            yield [Event(BOOKMARK, reached)]
            continue
        wake_at = min(end, next_bookmark) if options.allow_watch_bookmarks else end
        await collection.changed(max(wake_at - loop.time(), 0.001))


def _next_bookmark(backend: Backend, now: float, last: float, end: float) -> float:
    if now >= last:
        return end + 1.0
    return min(now + BOOKMARK_SECONDS * backend.source.uniform(0.9, 1.1), last)


def _initial(collection: Collection, selection: Selection) -> Iterator[list[Event]]:
    """Made only as they are taken: a watcher that does not read holds the entries, which are the cache's, and one batch."""
    entries = collection.listing(selection.prefix).entries
    matching = iter(entries) if selection.everything else filter(selection.matches, entries)
    while batch := [Event(ADDED, entry.revision, entry) for entry in islice(matching, BATCH)]:
        yield batch

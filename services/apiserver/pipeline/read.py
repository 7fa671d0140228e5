"""Get and list, served from the cache; pages after the first come from the store at their revision."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, bad_request, expired, status_error
from services.apiserver.aside import LARGE_BYTES, MANY_OBJECTS, aside, in_turn
from services.apiserver.backend import Backend, parse_revision, too_large
from services.apiserver.deadline import out_of_time, within
from services.apiserver.entries import Block, Entries
from services.apiserver.entry import Entry
from services.apiserver.pipeline.list_options import EXACT, check_list_options
from services.apiserver.pipeline.parts import part_of
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.refusals import missing
from services.apiserver.pipeline.selection import Selection
from services.apiserver.request import Request
from services.apiserver.results import Page, Ref, Written
from services.apiserver.storage.pages import PageSize, next_page
from services.apiserver.storage.store import Compacted, FutureRevision

# So many objects are looked into, aside, before others may have their turn there.
LOOKED_INTO = 2048


def check_subresource(ref: Ref, verb: str) -> None:
    """Raises NotFound for a sub-resource that the resource has not, MethodNotAllowed for a verb."""
    if not ref.subresource:
        return
    subresource = ref.version.subresource(ref.subresource)
    if subresource is None:
        raise status_error("NotFound", "the server could not find the requested resource")
    if verb not in subresource.verbs:
        raise status_error("MethodNotAllowed", "the server does not allow this method on the requested resource")


async def get(pipeline: Pipeline, request: Request) -> Written:
    """One object, or a sub-resource that is a part of it."""
    check_subresource(request.ref, "get")
    part = part_of(request.ref)
    entry = await cached(pipeline, request, request.ref, request.options.resource_version)
    return Written(part.body(entry.shared_message)) if part.projects else Written(entry=entry)


async def cached(pipeline: Pipeline, request: Request, ref: Ref, resource_version: str = "") -> Entry:
    """An object that a request reads, no older than ``resource_version`` or, when that is empty, than what is written; raises NotFound."""
    backend = pipeline.backend
    await backend.synced(request.deadline)
    await catch_up(backend, request, resource_version)
    entry = backend.cache.get(ref.resource, ref.namespace, ref.name) or await backend.unread(ref, request.deadline)
    if entry is None:
        raise missing(ref)
    if ref.resource.converter is not None:
        return await pipeline.conversions.entry(ref.version, entry, request.deadline)
    return entry


async def catch_up(backend: Backend, request: Request, resource_version: str) -> None:
    """Waits until the cache is new enough: for all that is written when none is named, for that revision else; 0 takes any."""
    if not resource_version:
        await backend.latest(request.deadline, request.user.name)
    elif resource_version != "0":
        await backend.reach(parse_revision(resource_version), deadline=request.deadline)


@dataclass(frozen=True, slots=True)
class Continue:
    """Where a list goes on: after ``start`` (relative to the prefix), at ``revision`` (-1: now)."""

    revision: int
    start: str

    def encode(self) -> str:
        text = json.dumps({"v": "meta.k8s.io/v1", "rv": self.revision, "start": self.start}, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, token: str) -> Continue:
        """Raises BadRequest for a token that no list gave."""
        try:
            fields = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
            revision, start = int(fields["rv"]), str(fields["start"])
        except (binascii.Error, ValueError, KeyError, TypeError):
            raise bad_request("continue key is not valid: it is not one that a list has answered with") from None
        if not start or (revision <= 0 and revision != -1):
            raise bad_request("continue key is not valid: incorrect encoded start resourceVersion")
        return cls(revision, start)


async def list_page(pipeline: Pipeline, request: Request) -> Page:
    """A collection or one page of it. A limit that is not positive is none."""
    check_subresource(request.ref, "list")
    return await list_selected(pipeline, request, request.options)


async def list_selected(pipeline: Pipeline, request: Request, options: meta.ListOptions) -> Page:
    """What ``options`` select of the request's collection."""
    ref, backend, limit = request.ref, pipeline.backend, max(options.limit, 0)
    selection = Selection.of(ref, options, pipeline.strategies)
    await backend.synced(request.deadline)
    check_list_options(options)
    if options.continue_token:
        if options.resource_version and options.resource_version != "0":
            raise bad_request("specifying resource version is not allowed when using continue")
        place = Continue.decode(options.continue_token)
        return await _stored_page(pipeline, request, selection, limit, place)
    wanted = parse_revision(options.resource_version)
    exact = options.resource_version_match == EXACT or (wanted and limit and not options.resource_version_match)
    await catch_up(backend, request, options.resource_version)
    if exact and wanted != backend.cache.revision:
        return await _stored_page(pipeline, request, selection, limit, Continue(wanted, ""))
    return await _cached_page(pipeline, request, selection, limit)


async def _cached_page(pipeline: Pipeline, request: Request, selection: Selection, limit: int) -> Page:
    cache, deadline, version = pipeline.backend.cache, request.deadline, request.ref.version
    revision, entries = cache.revision, cache.collection(selection.resource).listing(selection.prefix)
    if selection.everything:
        count = len(entries)
        page = _cut(selection, entries.first(limit), revision, count - limit) if 0 < limit < count else Page(entries, revision)
        return page if version.resource.converter is None else await pipeline.conversions.page(version, page, deadline)
    if version.resource.converter is not None:
        # A webhook may change what is selected by.
        entries = (await pipeline.conversions.page(version, Page(entries, revision), deadline)).entries
    found = Entries([part async for part in _matching(entries, selection, deadline)])
    return _cut(selection, found.first(limit), revision, 0) if 0 < limit < len(found) else Page(found, revision)


async def _matching(entries: Sequence[Entry], selection: Selection, deadline: float) -> AsyncIterator[Block]:
    """Which of them are selected, in parts. Of many it is found out aside: each must be looked into, perhaps for the first time. Raises
    Timeout."""
    if len(entries) <= selection.portion(MANY_OBJECTS):
        yield selection.among(entries)
        return
    loop, rest, first = asyncio.get_running_loop(), iter(entries), True
    while part := [*islice(rest, selection.portion(LOOKED_INTO))]:
        yield await (aside(LARGE_BYTES + 1, selection.among, part) if first else in_turn(selection.among, part))
        first = False
        if loop.time() > deadline:
            raise out_of_time("the selectors")


def _cut(selection: Selection, entries: Entries, revision: int, remaining: int) -> Page:
    start = entries[-1].key[len(selection.prefix) :] + "\0"
    return Page(entries, revision, Continue(revision, start).encode(), remaining if selection.everything else None)


async def _stored_page(pipeline: Pipeline, request: Request, selection: Selection, limit: int, place: Continue) -> Page:
    """Reads a page from the store as of the place's revision. Raises Expired also for one of a store that was restored since."""
    backend, deadline = pipeline.backend, request.deadline
    revision, known = max(place.revision, 0), backend.feed.place
    if 0 < revision < backend.feed.floor:
        raise _expired(backend, place)
    start, found, size = selection.prefix + place.start, list[Entry](), PageSize()
    while True:
        try:
            # What does not match is read for nothing: with selectors the pages are not kept as short as what is asked for.
            keys = max(limit - len(found), 0) if selection.everything else 0
            reading = next_page(backend.store, selection.prefix, size, start=start, revision=revision, limit=keys)
            page = await within(deadline, reading, "etcd")
        except Compacted:
            raise _expired(backend, place) from None
        except FutureRevision as error:
            raise too_large(revision, backend.cache.revision) from error
        if not backend.feed.trusts(known, page.revision):
            raise _expired(backend, place)
        revision = revision or page.revision
        entries = [entry for item in page.items if (entry := backend.cache.entry(item)) is not None]
        entries = list(await pipeline.conversions.entries(request.ref.version, entries, deadline))
        if not selection.everything:
            entries = [entry async for part in _matching(entries, selection, deadline) for entry in part]
        found += entries
        if limit and (len(found) > limit or (len(found) == limit and page.more)):
            found = found[:limit]
            behind = sum(item.key > found[-1].key for item in page.items) if selection.everything else 0
            return _cut(selection, Entries.of(found), revision, page.count - len(page.items) + behind)
        if not page.more:
            return Page(Entries.of(found), revision)
        start = page.items[-1].key + "\0"


def _expired(backend: Backend, place: Continue) -> StatusError:
    if not place.start:
        return expired(f"The resourceVersion for the provided list is too old: {place.revision}")
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
        "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with "
        "the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the "
        "first chunk was returned and now may show up in the list."
    )
    error = expired(message)
    error.status.metadata.continue_token = Continue(-1, place.start).encode()
    return error

"""Every change of a stored object: propose → complete → one transaction, again, in its turn, when somebody was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from knarr.machinery.errors import StatusError, Timeout
from knarr.objects.copies import copy_field, copy_of
from services.apiserver.admission.chain import NO_ADMISSION, NO_TURN, Phases
from services.apiserver.apply.entries import only_times_differ
from services.apiserver.aside import aside
from services.apiserver.backend import NO_EXTRA, serialize
from services.apiserver.canonical import canonicalize
from services.apiserver.entry import Entry
from services.apiserver.pipeline.conversion import bytes_to_store, converting, shown
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.refusals import missing, modified
from services.apiserver.request import Request
from services.apiserver.results import Ref, Written
from services.apiserver.storage.keys import object_key
from services.apiserver.turns import Racer

ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class Change:
    """An object as it is and as it shall be, admitted and validated, with what its writer should hear; ``admission`` may charge for it."""

    old: Any
    new: Any
    warnings: tuple[str, ...] = ()
    admission: Phases = NO_ADMISSION


# Given the stored entry, answers what the request brings for it; its resourceVersion is the precondition.
Propose = Callable[[Entry], Any]
# Given the stored entry and the proposal for it, answers the change that it comes to.
Complete = Callable[[Entry, Any], Awaitable[Change]]


async def rewrite(pipeline: Pipeline, request: Request, propose: Propose, complete: Complete, size_bytes: int = 0) -> Written:
    """Replaces the object by what ``propose`` and ``complete`` make of it.

    A resourceVersion in the proposal must be the stored one (else Conflict); without one, or with 0, the write is tried again, from the
    proposal on, when another came between. An equal object is not written. ``size_bytes``: of what the request brings.
    """
    ref, backend = request.ref, pipeline.backend
    async with racer_of(pipeline, request, ref) as racer:
        entry, fresh = await backend.current(ref, request.deadline), False
        for _ in range(ATTEMPTS):
            if entry is None:
                raise missing(ref)
            # As the pipeline looks at it.
            known = await pipeline.conversions.entry(ref.version, entry, request.deadline)
            try:
                proposal = await converting(pipeline, request, max(size_bytes, len(known.raw)), _proposed, propose, known)
                if proposal.metadata.resource_version == "0":
                    proposal.metadata.resource_version = ""  # Kubernetes takes 0 for none
                expected = proposal.metadata.resource_version
                if expected and expected != str(known.revision):
                    if fresh:
                        raise modified(ref)
                    entry, fresh = await backend.fresh(ref, request.deadline), True
                    continue
                change = await complete(known, proposal)
                converted = await _converted(pipeline, request, known, entry.stale, change)
                turn = change.admission.turn(request)
                async with turn or NO_TURN:
                    charging = change.admission if turn is not None else NO_ADMISSION
                    storing = _store(pipeline, request, ref, known, change, charging, stale=entry.stale, converted=converted, again=fresh)
                    written, seen = await backend.storing(request.deadline, storing)
            except Timeout:
                raise
            except StatusError:
                # Refused perhaps for what another server has changed already.
                newer = None if fresh else await backend.newer(ref, known, request.deadline)
                if newer is None:
                    raise
                entry, fresh = newer, True
                continue
            unwritten = written is not None and written.entry is known
            if unwritten and not fresh and (newer := await backend.newer(ref, known, request.deadline)) is not None:
                # There was nothing to write only as long as this server knew of nothing else.
                entry, fresh = newer, True
            elif written is not None:
                return await shown(pipeline, request, written._replace(warnings=change.warnings))
            else:
                entry, fresh = seen, True
                if await racer.lost():
                    entry = await backend.current(ref, request.deadline)
    raise modified(ref)


def racer_of(pipeline: Pipeline, request: Request, ref: Ref) -> Racer:
    """Who writes the object that ``ref`` names, among others perhaps."""
    return pipeline.turns.racer(object_key(ref.resource, ref.namespace, ref.name), request.deadline)


def _without_new_times(new: Any, old: Any, raw: bytes, entry: Entry) -> bytes:
    """``raw`` as it is with the times of its managers as they were, if nothing else is new: that is no reason to write."""
    if any(getattr(new, field.name) != getattr(old, field.name) for field in new.DESCRIPTOR.fields if field.name != "metadata"):
        return raw
    timed = copy_of(new.metadata)
    copy_field("managed_fields", new.metadata, old.metadata)
    if serialize(new) == entry.raw:
        return entry.raw
    copy_field("managed_fields", new.metadata, timed)
    return raw


def _proposed(propose: Propose, entry: Entry) -> Any:
    proposal = propose(entry)
    canonicalize(proposal)
    return proposal


async def _converted(pipeline: Pipeline, request: Request, known: Entry, stale: bool, change: Change) -> bytes | None:
    """The bytes to store, where a webhook makes them of the object; None also when there is nothing to store."""
    if request.ref.resource.converter is None or request.dry_run:
        return None
    is_same = not stale and await aside(change.new.ByteSize(), serialize, change.new) == known.raw
    if is_same and not await pipeline.backend.is_stale(request.ref, known):
        return None
    return await bytes_to_store(pipeline, request, change.new)


async def _store(
    pipeline: Pipeline,
    request: Request,
    ref: Ref,
    entry: Entry,
    change: Change,
    charging: Phases,
    *,
    stale: bool,
    converted: bytes | None,
    again: bool,
) -> tuple[Written | None, Entry | None]:
    """One attempt, perhaps made ``again``: what was written, or the object that came between. ``charging`` is what charges for it;
    ``stale``: it is written even if nothing of it is new."""
    backend, allocators, new = pipeline.backend, pipeline.allocators, change.new
    strategy = pipeline.strategies(ref.version)
    async with allocators.serialized(ref.resource):
        extra = await allocators.allocate(ref, change.old, new)
        charged = NO_EXTRA if charging.charging is None else await charging.charge(request, ref.name, new, change.old, again=again)
        if charged.guards:
            extra = extra.beside(charged)
        raw = await aside(new.ByteSize(), serialize, new)
        if raw != entry.raw and only_times_differ(new, change.old):
            raw = await aside(new.ByteSize(), _without_new_times, new, change.old, raw, entry)
        if raw == entry.raw and (request.dry_run or not (stale or await backend.is_stale(ref, entry))):
            return Written(entry=entry), None
        if request.dry_run:
            new.metadata.resource_version = str(entry.revision)
            return Written(new), None
        if strategy.vanishes(new):
            outcome = await backend.remove(entry, await allocators.release(ref, new))
            stored = Entry(entry.version, entry.key, outcome.revision, raw)
        else:
            outcome, stored = await backend.write(ref, converted or raw, entry.revision, extra, strategy.ttl_seconds)
    if outcome.succeeded:
        return Written(entry=stored), None
    if charged.guards:
        await charging.stand_back()
    return None, backend.found(outcome, ref)

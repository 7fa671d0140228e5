"""Every change of a stored object: propose → check → one transaction, again when somebody was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from knarr.machinery.errors import StatusError, conflict
from services.apiserver.allocators.allocator import Allocators
from services.apiserver.entry import Entry
from services.apiserver.pipeline.backend import Backend, serialize
from services.apiserver.pipeline.canonical import canonicalize
from services.apiserver.pipeline.read import missing
from services.apiserver.results import Ref, Written

ATTEMPTS = 16

# Given the stored entry, answers the wanted object; its resourceVersion is the precondition.
Propose = Callable[[Entry], Any]
# Given the wanted and the stored object, prepares, admits and validates the former; answers warnings.
Check = Callable[[Any, Any], Awaitable[tuple[str, ...]]]


def modified(ref: Ref) -> StatusError:
    return conflict(ref.resource.plural, ref.name, ref.version.group)


async def rewrite(backend: Backend, allocators: Allocators, ref: Ref, propose: Propose, check: Check, *, dry_run: bool = False) -> Written:
    """Replaces the object by what ``propose`` makes of it.

    A resourceVersion in the proposal must be the stored one (else Conflict); without one the write
    is tried again on the fresh object when another came between. An equal object is not written.
    """
    entry, fresh = await backend.current(ref), False
    for _ in range(ATTEMPTS):
        if entry is None:
            raise missing(ref)
        known = entry
        try:
            new = propose(known)
            canonicalize(new)
            expected = new.metadata.resource_version
            if expected and expected != str(known.revision):
                if fresh:
                    raise modified(ref)
                entry, fresh = await backend.fresh(ref), True
                continue
            old: Any = known.message
            warnings = await check(new, old)
            async with allocators.serialized(ref.resource):
                written, seen = await _store(backend, allocators, ref, known, old, new, dry_run)
        except StatusError:
            # Refused perhaps for what another server has changed already.
            newer = None if fresh else await backend.newer(ref, known)
            if newer is None:
                raise
            entry, fresh = newer, True
            continue
        unwritten = written is not None and written.entry is known
        if unwritten and not fresh and (newer := await backend.newer(ref, known)) is not None:
            # There was nothing to write only as long as this server knew of nothing else.
            entry, fresh = newer, True
        elif written is not None:
            return Written(written.answer, written.entry, warnings=warnings)
        else:
            entry, fresh = seen, True
    raise modified(ref)


async def _store(
    backend: Backend, allocators: Allocators, ref: Ref, entry: Entry, old: Any, new: Any, dry_run: bool
) -> tuple[Written | None, Entry | None]:
    """One attempt: what was written, or the object that came between."""
    extra = await allocators.allocate(ref, old, new)
    raw = serialize(new)
    if raw == entry.raw:
        return Written(entry=entry), None
    if dry_run:
        new.metadata.resource_version = str(entry.revision)
        return Written(new), None
    if backend.strategies(ref.version).vanishes(new):
        outcome = await backend.remove(entry, await allocators.release(ref, new))
        last = Entry(ref.resource.storage, entry.key, outcome.revision, raw)
        return (Written(entry=last), None) if outcome.succeeded else (None, backend.found(outcome, ref))
    outcome, stored = await backend.write(ref, raw, entry.revision, extra)
    return (Written(entry=stored), None) if outcome.succeeded else (None, backend.found(outcome, ref))

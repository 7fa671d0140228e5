"""Delete: at once, after a grace period, or when the finalizers are done."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause, Conflict, NotFound, conflict, invalid
from knarr.objects.keys import is_deleting
from services.apiserver.admission.attributes import DELETE
from services.apiserver.admission.chain import NO_ADMISSION
from services.apiserver.backend import serialize
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry
from services.apiserver.pipeline import read
from services.apiserver.pipeline.conversion import bytes_to_store, shown
from services.apiserver.pipeline.metadata import FOREGROUND, ORPHAN
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.refusals import missing, modified
from services.apiserver.pipeline.rewrite import ATTEMPTS, racer_of
from services.apiserver.request import Request
from services.apiserver.results import Page, Ref, Written
from services.apiserver.strategies.strategy import Strategy

POLICIES = ("Foreground", "Background", "Orphan")
# The last moment that a timestamp can tell; a grace period may be longer than that.
LATEST_SECONDS = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Decision:
    """``obj`` is the object as it should be now; ``remove`` whether it goes at once."""

    remove: bool
    obj: Any


def check_options(ref: Ref, options: meta.DeleteOptions) -> None:
    """Raises Invalid for options that contradict themselves."""
    causes: list[Cause] = []
    if options.HasField("orphan_dependents") and options.HasField("propagation_policy"):
        message = f'Invalid value: "{options.propagation_policy}": orphanDependents and deletionPropagation cannot be both set'
        causes.append(Cause("FieldValueInvalid", message, "propagationPolicy"))
    if options.propagation_policy and options.propagation_policy not in POLICIES:
        supported = ", ".join(f'"{policy}"' for policy in (*POLICIES, "nil"))
        message = f'Unsupported value: "{options.propagation_policy}": supported values: {supported}'
        causes.append(Cause("FieldValueNotSupported", message, "propagationPolicy"))
    if any(value != "All" for value in options.dry_run):
        found = json.dumps([*options.dry_run], separators=(",", ":"))
        causes.append(Cause("FieldValueNotSupported", f'Unsupported value: {found}: supported values: "All"', "dryRun"))
    if causes:
        raise invalid("DeleteOptions", "", causes, "meta.k8s.io")


def check_preconditions(ref: Ref, wanted: meta.Preconditions, obj: Any) -> None:
    """Raises Conflict unless the object is the very one that the caller means."""
    found = obj.metadata
    for field, name, otherwise in (
        ("uid", "UID", "deleted and then recreated"),
        ("resource_version", "ResourceVersion", "modified"),
    ):
        meant, is_now = getattr(wanted, field), getattr(found, field)
        if wanted.HasField(field) and meant != is_now:
            differs = f"the {name} in the precondition ({meant}) does not match the {name} in record ({is_now})"
            stored = ref.resource.storage
            raise conflict(stored.kind, ref.name, stored.group, f"{differs}. The object might have been {otherwise}")


def set_propagation(strategy: Strategy, obj: Any, options: meta.DeleteOptions) -> None:
    """Sets the finalizers that the garbage collector works through for the wanted policy."""
    policy = options.propagation_policy
    if options.HasField("orphan_dependents"):
        policy = "Orphan" if options.orphan_dependents else "Background"
    if not policy and strategy.orphans_by_default and FOREGROUND not in obj.metadata.finalizers:
        policy = "Orphan"
    if not policy:
        return
    wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(policy)
    kept = [name for name in obj.metadata.finalizers if name not in (FOREGROUND, ORPHAN) or name == wanted]
    if wanted and wanted not in kept:
        kept.append(wanted)
    del obj.metadata.finalizers[:]
    obj.metadata.finalizers.extend(kept)


def decide(strategy: Strategy, obj: Any, options: meta.DeleteOptions, now: datetime) -> Decision:
    """Whether the object goes now; if not, ``obj`` is marked as being deleted.

    A second delete may shorten the grace period, never lengthen it.
    """
    set_propagation(strategy, obj, options)
    found = obj.metadata
    requested = options.grace_period_seconds if options.HasField("grace_period_seconds") else None
    marked = is_deleting(obj)
    grace = 0 if requested == 0 else strategy.grace_period_seconds(obj, requested)
    if marked and requested is None:
        grace = found.deletion_grace_period_seconds
    if not marked or grace < found.deletion_grace_period_seconds:
        _mark(strategy, obj, grace, now, marked)
    return Decision(strategy.vanishes(obj), obj)


def _mark(strategy: Strategy, obj: Any, grace: int, now: datetime, marked: bool) -> None:
    found = obj.metadata
    started, before = int(now.timestamp()), found.deletion_timestamp.seconds
    if marked and before < LATEST_SECONDS:
        started = before - found.deletion_grace_period_seconds
    found.deletion_timestamp.seconds, found.deletion_timestamp.nanos = min(started + grace, LATEST_SECONDS), 0
    strategy.mark_deleted(obj, grace)
    if not marked and found.generation:
        found.generation += 1


def success(ref: Ref, uid: str) -> meta.Status:
    """The answer when the object is gone."""
    details = meta.StatusDetails(name=ref.name, group=ref.version.group, kind=ref.resource.plural, uid=uid)
    return meta.Status(status="Success", details=details)


async def delete(pipeline: Pipeline, request: Request) -> Written:
    """Answers the object while it still exists, and of some kinds when it is gone too, else a Status of success."""
    _warn(pipeline, request)
    return await remove(pipeline, request, request.ref, request.options)


async def delete_collection(pipeline: Pipeline, request: Request, selection: meta.ListOptions) -> Page:
    """Deletes what the selectors choose; answers it as it was. Objects that vanish meanwhile are no error."""
    version = request.ref.version
    _warn(pipeline, request)
    # Though nothing may be chosen.
    check_options(request.ref, request.options)
    page = await read.list_selected(pipeline, request, selection)
    gone: list[Entry] = []
    for entry in page.entries:
        with suppress(NotFound):
            ref = Ref(version, entry.namespace, entry.name)
            await remove(pipeline, request.of(ref), ref, request.options)
        gone.append(entry)
    return Page(Entries.of(gone), pipeline.backend.cache.revision)


# What is said in an object as it is marked as being deleted, given the time.
Mark = Callable[[Any, datetime], None]


async def remove(
    pipeline: Pipeline, request: Request, ref: Ref, options: meta.DeleteOptions, mark: Mark | None = None, *, admitted: bool = False
) -> Written:
    """Deletes the object ``ref`` on behalf of a request that may be about more than that; answers as ``delete`` does. ``admitted``: as a
    part of something that admission has let pass."""
    backend, allocators = pipeline.backend, pipeline.allocators
    check_options(ref, options)
    await backend.synced(request.deadline)
    async with racer_of(pipeline, request, ref) as racer:
        entry, fresh = await backend.current(ref, request.deadline), False
        for _ in range(ATTEMPTS):
            if entry is None:
                raise missing(ref)
            entry = await pipeline.conversions.entry(ref.version, entry, request.deadline)
            obj: Any = entry.message
            try:
                check_preconditions(ref, options.preconditions, obj)
            except Conflict:
                if fresh:
                    raise
                entry, fresh = await backend.fresh(ref, request.deadline), True
                continue
            # Known only behind the first load.
            admission = NO_ADMISSION if admitted else pipeline.admission.phases(DELETE, ref)
            if admission:
                await admission.mutate(request, ref.name, None, entry.shared_message)
                await admission.validate(request, ref.name, None, entry.shared_message)
            if mark is not None:
                mark(obj, backend.clock())
            decision = decide(pipeline.strategies(ref.version), obj, options, backend.clock())
            converted: bytes | None = None
            if ref.resource.converter is not None and not (decision.remove or options.dry_run) and serialize(obj) != entry.raw:
                converted = await bytes_to_store(pipeline, request, obj)
            removing = _remove(pipeline, ref, options, entry, decision, converted)
            written, entry = await backend.storing(request.deadline, removing)
            if written is not None:
                return await shown(pipeline, request, written)
            await allocators.stand_back(ref.resource)
            fresh = True
            if await racer.lost():
                entry = await backend.current(ref, request.deadline)
    raise modified(ref)


def _warn(pipeline: Pipeline, request: Request) -> None:
    """Of what becomes of dependents where nothing was said about them."""
    words = pipeline.strategies(request.ref.version).orphaning_warning
    if words and not request.options.propagation_policy and not request.options.HasField("orphan_dependents"):
        request.warn(words)


async def _remove(
    pipeline: Pipeline, ref: Ref, options: meta.DeleteOptions, entry: Entry, decision: Decision, converted: bytes | None
) -> tuple[Written | None, Entry | None]:
    """One attempt: the answer, or the object that came between."""
    backend, allocators, strategy, obj = pipeline.backend, pipeline.allocators, pipeline.strategies(ref.version), decision.obj
    if options.dry_run:
        return Written(_farewell(ref, strategy, entry, obj) if decision.remove else obj), None
    async with allocators.serialized(ref.resource):
        if decision.remove:
            outcome = await backend.remove(entry, await allocators.release(ref, obj))
            if not outcome.succeeded:
                return None, backend.found(outcome, ref)
            return Written(_farewell(ref, strategy, entry, obj, outcome.revision)), None
        raw = serialize(obj)
        if raw == entry.raw:
            return Written(entry=entry), None
        outcome, stored = await backend.write(ref, converted or raw, entry.revision, ttl_seconds=strategy.ttl_seconds)
    return (Written(entry=stored), None) if outcome.succeeded else (None, backend.found(outcome, ref))


def _farewell(ref: Ref, strategy: Strategy, entry: Entry, marked: Any, revision: int = 0) -> Message:
    """The answer when the object is gone: ``entry`` is what was stored, ``marked`` the same as it is being deleted."""
    if not strategy.returns_deleted:
        return success(ref, marked.metadata.uid)
    gone: Any = marked if strategy.graceful else entry.message
    gone.metadata.resource_version = str(revision or entry.revision)
    return gone  # type: ignore[no-any-return]

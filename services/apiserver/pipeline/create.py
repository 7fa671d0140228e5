"""Create: default → mutate → prepare → validate → admission's validation → one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from knarr.machinery.errors import AlreadyExists, bad_request, invalid, status_error
from knarr.objects.copies import copy_of
from knarr.objects.names import generated
from services.apiserver.admission.attributes import CREATE
from services.apiserver.admission.chain import NO_ADMISSION, NO_TURN, Phases
from services.apiserver.apply.names import check_options
from services.apiserver.apply.tracking import track_create
from services.apiserver.apply.versions import Known
from services.apiserver.aside import aside
from services.apiserver.backend import NO_EXTRA, serialize
from services.apiserver.canonical import canonicalize
from services.apiserver.fields.judge import judge
from services.apiserver.pipeline import metadata
from services.apiserver.pipeline.conversion import bytes_to_store, converting, shown
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.refusals import taken
from services.apiserver.request import Request
from services.apiserver.results import Ref, Written
from services.apiserver.strategies.metadata import validate_object_meta
from services.apiserver.strategies.strategy import Strategy

NAME_ATTEMPTS = 8


async def create(pipeline: Pipeline, request: Request, obj: Message, *, tracked: bool = False) -> Written:
    """Stores a new object. ``obj`` belongs to the pipeline from here on; ``tracked``: it says already who manages it."""
    ref, backend = request.ref, pipeline.backend
    check_open(ref)
    new: Any = obj
    check_options(request.options)
    await backend.synced(request.deadline)
    metadata.check_request(ref, new)
    metadata.wipe(new)
    if ref.name and not new.metadata.name:
        # Who may create what has this name may not create what has another.
        raise bad_request(f"the name of the object ({ref.name} based on the request) was undeterminable: name must be provided")
    strategy, admission = pipeline.strategies(ref.version), pipeline.admission.phases(CREATE, ref)
    size_bytes = new.ByteSize() * strategy.work_factor
    await aside(size_bytes, _default, strategy, new)
    if not tracked:
        new = await converting(pipeline, request, size_bytes, _tracked, pipeline, request, new, Known.for_version(ref.version))
    if await admission.mutate(request, new.metadata.name, new):
        # It stays where the request wants it, whatever has been made of it.
        metadata.check_request(ref, new)
        await aside(size_bytes, _default, strategy, new)
    prefix = "" if new.metadata.name else new.metadata.generate_name
    if not prefix:
        return await _create(pipeline, request, new, strategy, admission)
    for attempt in range(NAME_ATTEMPTS):
        named = copy_of(new)
        named.metadata.name = generated(prefix, backend.source)
        try:
            return await _create(pipeline, request, named, strategy, admission)
        except AlreadyExists:
            if attempt == NAME_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _tracked(pipeline: Pipeline, request: Request, new: Any, known: Known | None) -> Any:
    """The object with its creator as the manager of what it says."""
    ref, unreached = request.ref, pipeline.strategies(request.ref.version).unreached(request.ref.version.message, "")
    if known is not None:
        new = copy_of(new)  # this may be begun anew
    track_create(ref, new, unreached, request.manager, pipeline.backend.clock(), known)
    return new


def _default(strategy: Strategy, new: Any) -> None:
    strategy.default(new)
    canonicalize(new)


async def _create(pipeline: Pipeline, request: Request, new: Any, strategy: Strategy, admission: Phases) -> Written:
    backend = pipeline.backend
    ref = Ref(request.ref.version, request.ref.namespace, new.metadata.name)
    metadata.prepare_for_create(new, backend.clock(), backend.source)
    warnings = await aside(new.ByteSize() * strategy.work_factor, _judged, ref, strategy, new, backend.clock)
    await admission.validate(request, ref.name, new)
    converted = await bytes_to_store(pipeline, request, new) if ref.resource.converter is not None and not request.dry_run else None
    turn = admission.turn(request)
    async with turn or NO_TURN:
        charging = admission if turn is not None else NO_ADMISSION
        storing = _store(pipeline, request, ref, new, charging, strategy.ttl_seconds, warnings, converted)
        written = await backend.storing(request.deadline, storing)
    return await shown(pipeline, request, written)


def _judged(ref: Ref, strategy: Strategy, new: Any, now: Callable[[], datetime]) -> tuple[str, ...]:
    """What the writer of a new object should hear; raises Invalid."""
    strategy.prepare_for_create(new)
    strategy.stamp(new, new, now)
    repeated = metadata.owned_once(new)
    judged = judge(ref, new)
    causes = [
        *validate_object_meta(
            new.metadata, namespaced=ref.resource.namespaced, name_format=strategy.name_format, full_finalizers=strategy.full_finalizers
        ),
        *strategy.validate(new),
        *strategy.validate_create(new),
        *judged.causes,
    ]
    if causes:
        stored = ref.version.resource.storage
        raise invalid(stored.kind, ref.name, causes, stored.group)
    return (*repeated, *strategy.name_warnings(new.metadata.name), *strategy.warnings(new), *judged.warnings)


def check_open(ref: Ref) -> None:
    """Raises MethodNotAllowed for an object of a definition that goes, or is gone."""
    if ref.resource.closing:
        raise status_error("MethodNotAllowed", "create not allowed while custom resource definition is terminating")


async def _store(
    pipeline: Pipeline,
    request: Request,
    ref: Ref,
    new: Any,
    charging: Phases,
    ttl_seconds: int,
    warnings: tuple[str, ...],
    converted: bytes | None,
) -> Written:
    """``charging`` is what charges for it; ``converted`` are the bytes to store, where a webhook has made them of the object."""
    backend, allocators = pipeline.backend, pipeline.allocators
    async with allocators.serialized(ref.resource):
        for attempt in allocators.attempts():
            candidate = copy_of(new) if allocators.concerns(ref.resource) else new
            extra = await allocators.allocate(ref, None, candidate)
            charged = NO_EXTRA if charging.charging is None else await charging.charge(request, ref.name, candidate, again=attempt > 0)
            if charged.guards:
                extra = extra.beside(charged)
            if request.dry_run:
                if await backend.current(ref, request.deadline) is not None:
                    raise taken(ref)
                return Written(candidate, created=True, warnings=warnings)
            raw = converted if converted is not None else await aside(candidate.ByteSize(), serialize, candidate)
            # Once more: it may have taken a while to come here.
            check_open(ref)
            outcome, entry = await backend.write(ref, raw, 0, extra, ttl_seconds)
            if outcome.succeeded:
                return Written(entry=entry, created=True, warnings=warnings)
            if backend.found(outcome, ref) is not None:
                raise taken(ref)
            await allocators.stand_back(ref.resource)
            if charged.guards:
                await charging.stand_back()
    raise allocators.exhausted(ref)

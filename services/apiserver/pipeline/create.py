"""Create: default → admit → prepare → validate → one transaction."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, already_exists, invalid
from knarr.objects.copies import copy_of
from knarr.objects.names import generated
from services.apiserver.admission import admit
from services.apiserver.admission.plugin import CREATE, Admission
from services.apiserver.allocators.allocator import Allocators
from services.apiserver.fields.judge import judge
from services.apiserver.pipeline import metadata
from services.apiserver.pipeline.backend import Backend, serialize
from services.apiserver.results import Ref, Written
from services.apiserver.strategies.metadata import validate_object_meta

NAME_ATTEMPTS = 8


async def create(backend: Backend, allocators: Allocators, ref: Ref, obj: Message, options: meta.CreateOptions) -> Written:
    """Stores a new object. ``obj`` belongs to the pipeline from here on."""
    await backend.synced()
    metadata.check_request(ref, obj)
    new: Any = obj
    prefix = "" if new.metadata.name else new.metadata.generate_name
    for attempt in range(NAME_ATTEMPTS):
        candidate = new if not prefix else copy_of(new)
        if prefix:
            candidate.metadata.name = generated(prefix, backend.source)
        try:
            return await _create(backend, allocators, _named(ref, candidate), candidate, options)
        except StatusError as error:
            if not prefix or error.reason != "AlreadyExists" or attempt == NAME_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


async def _create(backend: Backend, allocators: Allocators, ref: Ref, new: Any, options: meta.CreateOptions) -> Written:
    strategy = backend.strategies(ref.version)
    strategy.default(new)
    await admit(Admission(CREATE, ref, new, backend))
    judged = judge(ref, new)
    metadata.prepare_for_create(new, backend.clock(), backend.source)
    strategy.prepare_for_create(new)
    causes = [
        *validate_object_meta(new.metadata, namespaced=ref.resource.namespaced, name_format=strategy.name_format),
        *strategy.validate(new),
        *judged.causes,
    ]
    if causes:
        raise invalid(ref.version.kind, ref.name, causes, ref.version.group)
    warnings = (*strategy.warnings(new), *judged.warnings)
    async with allocators.serialized(ref.resource):
        return await _store(backend, allocators, ref, new, bool(options.dry_run), warnings)


async def _store(backend: Backend, allocators: Allocators, ref: Ref, new: Any, dry_run: bool, warnings: tuple[str, ...]) -> Written:
    for _ in allocators.attempts():
        candidate = copy_of(new) if allocators.concerns(ref.resource) else new
        extra = await allocators.allocate(ref, None, candidate)
        if dry_run:
            await _refuse_taken(backend, ref)
            return Written(candidate, created=True, warnings=warnings)
        outcome, entry = await backend.write(ref, serialize(candidate), 0, extra)
        if outcome.succeeded:
            return Written(entry=entry, created=True, warnings=warnings)
        if backend.found(outcome, ref) is not None:
            raise already_exists(ref.resource.plural, ref.name, ref.version.group)
        await allocators.stand_back(ref.resource)
    raise allocators.exhausted(ref)


async def _refuse_taken(backend: Backend, ref: Ref) -> None:
    if await backend.current(ref) is not None:
        raise already_exists(ref.resource.plural, ref.name, ref.version.group)


def _named(ref: Ref, obj: Any) -> Ref:
    return Ref(ref.version, ref.namespace, obj.metadata.name, user=ref.user)

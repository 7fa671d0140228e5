"""Update and patch of an object, whole or in part: mutate → merge → prepare → validate → admission's validation → store."""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import AlreadyExists, Cause, NotFound, bad_request, invalid
from knarr.objects.copies import copy_field, copy_of
from services.apiserver.admission.attributes import UPDATE
from services.apiserver.apply.names import check_options
from services.apiserver.apply.tracking import track_update
from services.apiserver.apply.versions import Known
from services.apiserver.aside import aside
from services.apiserver.authorization import permit
from services.apiserver.canonical import canonicalize
from services.apiserver.entry import Entry
from services.apiserver.pipeline import metadata, patching
from services.apiserver.pipeline.conversion import converting
from services.apiserver.pipeline.create import create
from services.apiserver.pipeline.parts import Whole, part_of
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import check_subresource
from services.apiserver.pipeline.refusals import another, modified
from services.apiserver.pipeline.rewrite import ATTEMPTS, Change, Propose, rewrite
from services.apiserver.request import UPDATE as REPLACE
from services.apiserver.request import Request
from services.apiserver.results import Ref, Written
from services.apiserver.strategies.strategy import Strategy

UNCONDITIONAL = Cause("FieldValueInvalid", "Invalid value: 0x0: must be specified for an update", "metadata.resourceVersion")


async def update(pipeline: Pipeline, request: Request, obj: Message) -> Written:
    """Replaces the object or sub-resource. ``obj`` belongs to the pipeline from here on."""
    check_subresource(request.ref, "update")
    check_options(request.options)
    metadata.check_request(request.ref, obj)
    _check_name(request.ref, obj)
    uid: str = obj.metadata.uid  # type: ignore[attr-defined]
    if not request.subresource and pipeline.strategies(request.ref.version).creates_on_update:
        return await _put(pipeline, request, obj)
    try:
        return await rewrite_part(pipeline, request, lambda entry: copy_of(obj), obj.ByteSize())
    except NotFound:
        # It is meant for an object that was there, as it tells by its uid: that one is another by now.
        if uid and await pipeline.backend.current(request.ref, request.deadline) is None:
            raise another(request.ref, uid) from None
        raise


def _check_name(ref: Ref, obj: Any) -> None:
    """Unlike a patch, a whole object must say which one it is. Raises BadRequest."""
    if not obj.metadata.name:
        raise bad_request(f"the name of the object ({ref.name} based on URL) was undeterminable: name must be provided")


async def _put(pipeline: Pipeline, request: Request, obj: Message) -> Written:
    """Replaces the object, or creates it when it is not there; tried again when another write comes between."""
    backend, ref = pipeline.backend, request.ref
    found = await backend.current(ref, request.deadline)
    for _ in range(ATTEMPTS):
        try:
            if found is None:
                return await _create(pipeline, request, copy_of(obj))
            return await rewrite_part(pipeline, request, lambda entry: copy_of(obj), obj.ByteSize())
        except (NotFound, AlreadyExists):
            before, found = found, await backend.fresh(ref, request.deadline)
            if (before is None) is (found is None):
                raise
    raise modified(ref)


async def _create(pipeline: Pipeline, request: Request, obj: Any) -> Written:
    """Creates what an update names, with all of create's checks. Raises Conflict when the update is meant for an object that was there."""
    ref, given = request.ref, request.options
    if obj.metadata.uid:
        raise another(ref, obj.metadata.uid)
    if obj.metadata.resource_version not in ("", "0"):
        raise modified(ref)
    obj.metadata.name, obj.metadata.resource_version = ref.name, ""
    options = meta.CreateOptions(dry_run=given.dry_run, field_manager=given.field_manager, field_validation=given.field_validation)
    wanted = request.as_create(options)
    await permit(pipeline.authorizer, wanted)
    return await create(pipeline, wanted, obj)


async def patch(pipeline: Pipeline, request: Request, patch_type: str, body: bytes) -> Written:
    """Patches the object or sub-resource; tried again when another write comes between."""
    ref, field_validation = request.ref, request.options.field_validation
    check_subresource(ref, "patch")
    check_options(request.options, patches=True)
    part = part_of(ref)
    change = await aside(len(body), patching.parse, patch_type, body)
    warnings: list[str] = []

    def propose(entry: Entry) -> Any:
        warnings.clear()
        # A patch is about the object as its author sees it.
        shown = ref.version.from_storage(part.body(entry.message))
        proposal = ref.version.to_storage(patching.apply(change, shown, ref.version.form_of(shown), field_validation, warnings))
        metadata.check_request(ref, proposal)
        return proposal

    written = await rewrite_part(pipeline, request, propose, len(body))
    return Written(written.answer, written.entry, warnings=(*warnings, *written.warnings))


async def rewrite_part(pipeline: Pipeline, request: Request, propose: Propose, size_bytes: int, *, applied: bool = False) -> Written:
    """Changes the object or sub-resource to what is proposed; ``applied``: a proposal says already who manages the object then."""
    part = part_of(request.ref)
    written = await rewrite(pipeline, request, propose, functools.partial(_complete, pipeline, request, part, applied), size_bytes)
    return Written(part.body(written.message), warnings=written.warnings) if part.projects else written


async def _track(pipeline: Pipeline, request: Request, strategy: Strategy, new: Any, old: Any, size_bytes: int) -> None:
    """Notes in ``new`` who has changed what of ``old``."""
    ref, known = request.ref, Known.for_version(request.ref.version)
    unreached, now = strategy.unreached(ref.version.message, ref.subresource), pipeline.backend.clock()
    await converting(pipeline, request, size_bytes, track_update, ref, new, old, unreached, request.manager, now, known)


def _completed(strategy: Strategy, old: Any) -> Any | None:
    """``old`` as it would be stored today; None if it is.

    It may have fields that are no more, and lack defaults that were not there when it was stored, or that an older API server on the same
    etcd has not written: neither is a change of what cannot be changed. Kubernetes completes whatever it reads; here only who is refused
    pays for it.
    """
    completed = copy_of(old)
    if isinstance(completed, Message):
        completed.DiscardUnknownFields()
    strategy.default(completed)
    canonicalize(completed)
    return completed if completed != old else None


async def _complete(pipeline: Pipeline, request: Request, part: Whole, applied: bool, entry: Entry, body: Any) -> Change:
    """Admits, prepares and validates a proposed body; raises Invalid."""
    ref = request.ref
    strategy, admission = pipeline.strategies(ref.version), pipeline.admission.phases(UPDATE, ref)
    old: Any = entry.message
    shown = part.body(old)
    if request.verb == REPLACE:
        metadata.check_uid(body, old, ref)
    if not body.metadata.resource_version and not strategy.allows_unconditional_update:
        # Before anything else is judged, and of the resource rather than the kind, as in Kubernetes.
        raise invalid(ref.resource.plural, ref.name, [UNCONDITIONAL], ref.resource.storage.group)
    size_bytes = max(body.ByteSize(), len(entry.raw)) * strategy.work_factor
    await aside(size_bytes, part.prepare, ref, strategy, body, old)
    if part.replaces:
        strategy.stamp(body, old, pipeline.backend.clock)
    if part.replaces and not applied:
        await _track(pipeline, request, strategy, body, old, size_bytes)
    if await admission.mutate(request, ref.name, body, shown):
        # What a client may not change a webhook may not change either.
        metadata.check_request(Ref(ref.version, ref.namespace), body)
        part.prepare(ref, strategy, body, old)
        canonicalize(body)
    new = part.merge(ref, body, entry)
    if not part.replaces and applied:
        copy_field("managed_fields", new.metadata, body.metadata)
    elif not part.replaces:
        await _track(pipeline, request, strategy, new, old, size_bytes)
    repeated = metadata.owned_once(new)
    causes, warnings = await aside(size_bytes, part.validate, ref, strategy, new, old)
    if causes and (completed := await aside(size_bytes, _completed, strategy, old)) is not None:
        causes, warnings = await aside(size_bytes, part.validate, ref, strategy, new, completed)
    if causes:
        stored = ref.version.resource.storage
        raise invalid(stored.kind, ref.name, causes, stored.group)
    await admission.validate(request, ref.name, part.body(new), shown)
    return Change(old, new, (*repeated, *warnings), admission)

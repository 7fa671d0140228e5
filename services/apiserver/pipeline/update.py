"""Update and patch of the object and of its ``status``, ``scale`` and ``finalize`` sub-resources."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause, invalid, status_error
from knarr.objects.copies import copy_of
from services.apiserver.admission import admit
from services.apiserver.admission.plugin import UPDATE, Admission
from services.apiserver.allocators.allocator import Allocators
from services.apiserver.entry import Entry
from services.apiserver.fields.judge import judge
from services.apiserver.pipeline import metadata, patching
from services.apiserver.pipeline.backend import Backend
from services.apiserver.pipeline.read import check_subresource, missing
from services.apiserver.pipeline.rewrite import rewrite
from services.apiserver.results import Ref, Written
from services.apiserver.strategies.metadata import validate_object_meta_update
from services.apiserver.strategies.scale import apply_scale, to_scale


async def update(backend: Backend, allocators: Allocators, ref: Ref, obj: Message, options: meta.UpdateOptions) -> Written:
    """Replaces the object or sub-resource. ``obj`` belongs to the pipeline from here on."""
    check_subresource(ref, "update")
    metadata.check_request(ref, obj)
    body: Any = obj

    def propose(entry: Entry) -> Any:
        if ref.subresource == "scale":
            return _scaled(entry, body)
        return _finalized(entry, body) if ref.subresource == "finalize" else copy_of(body)

    written = await rewrite(backend, allocators, ref, propose, functools.partial(_check, backend, ref), dry_run=bool(options.dry_run))
    return _as_scale(written) if ref.subresource == "scale" else written


async def patch(backend: Backend, allocators: Allocators, ref: Ref, patch_type: str, body: bytes, options: meta.PatchOptions) -> Written:
    """Patches the object or sub-resource; tried again when another write comes between."""
    check_subresource(ref, "patch")
    change = patching.parse(patch_type, body)
    warnings: list[str] = []

    def propose(entry: Entry) -> Any:
        warnings.clear()
        if ref.subresource == "scale":
            scale = patching.apply(change, to_scale(entry.message), options.field_validation, warnings)
            metadata.check_request(ref, scale)
            return _scaled(entry, scale)
        new = patching.apply(change, entry.message, options.field_validation, warnings)
        metadata.check_request(ref, new)
        return new

    written = await rewrite(backend, allocators, ref, propose, functools.partial(_check, backend, ref), dry_run=bool(options.dry_run))
    if ref.subresource == "scale":
        written = _as_scale(written)
    return Written(written.answer, written.entry, warnings=(*warnings, *written.warnings))


async def _check(backend: Backend, ref: Ref, new: Any, old: Any) -> tuple[str, ...]:
    """Prepares and validates a changed object; raises Invalid. The order is that of create."""
    strategy = backend.strategies(ref.version)
    unconditional = not new.metadata.resource_version
    metadata.prepare_for_update(new, old, ref)
    causes: Sequence[Cause] = ()
    warnings: Sequence[str] = ()
    if ref.subresource == "status":
        strategy.prepare_for_status_update(new, old)
        causes = [*validate_object_meta_update(new.metadata, old.metadata), *strategy.validate_status_update(new, old)]
    elif ref.subresource == "finalize":
        causes = validate_object_meta_update(new.metadata, old.metadata)
    else:
        strategy.default(new)
        await admit(Admission(UPDATE, ref, new, backend))
        judged = judge(ref, new, old)
        strategy.prepare_for_update(new, old)
        causes = [*validate_object_meta_update(new.metadata, old.metadata), *strategy.validate(new), *strategy.validate_update(new, old)]
        causes += judged.causes
        # A Scale shows nothing of what the strategy speaks of.
        warnings = [*strategy.warnings(new), *judged.warnings] if not ref.subresource else ()
    if unconditional and not strategy.allows_unconditional_update and not causes:
        causes = [Cause("FieldValueInvalid", "Invalid value: 0x0: must be specified for an update", "metadata.resourceVersion")]
    if causes:
        raise invalid(ref.version.kind, ref.name, causes, ref.version.group)
    return tuple(warnings)


def _scaled(entry: Entry, scale: Any) -> Any:
    new: Any = entry.message
    if scale.metadata.uid and scale.metadata.uid != new.metadata.uid:
        raise missing(Ref(entry.version, entry.namespace, entry.name))
    if scale.spec.replicas < 0:
        message = f"Invalid value: {scale.spec.replicas}: must be greater than or equal to 0"
        raise invalid("Scale", entry.name, [Cause("FieldValueInvalid", message, "spec.replicas")], "autoscaling")
    new.metadata.resource_version = ""
    apply_scale(new, scale)
    return new


def _finalized(entry: Entry, body: Any) -> Any:
    """A namespace with the finalizers of ``body``, everything else as stored."""
    if not body.metadata.name:
        raise status_error("BadRequest", "name must be provided")
    new: Any = entry.message
    del new.spec.finalizers[:]
    new.spec.finalizers.extend(body.spec.finalizers)
    new.metadata.resource_version = body.metadata.resource_version
    return new


def _as_scale(written: Written) -> Written:
    return Written(to_scale(written.message), warnings=written.warnings)

"""Server-side apply: as a patch, of an object that may not be there yet."""

from __future__ import annotations

from typing import Any

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import AlreadyExists, NotFound, bad_request, conflict
from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.schema import descriptor_of
from services.apiserver.apply import scale
from services.apiserver.apply.applying import Applier, apply_object, apply_scale
from services.apiserver.apply.configuration import Configuration, parse
from services.apiserver.apply.names import check_options
from services.apiserver.apply.versions import Known, shape_of_version
from services.apiserver.aside import aside
from services.apiserver.authorization import permit
from services.apiserver.entry import Entry
from services.apiserver.pipeline import metadata
from services.apiserver.pipeline.conversion import converting
from services.apiserver.pipeline.create import create
from services.apiserver.pipeline.parts import Whole, part_of
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import check_subresource
from services.apiserver.pipeline.refusals import missing, modified
from services.apiserver.pipeline.rewrite import ATTEMPTS
from services.apiserver.pipeline.update import rewrite_part
from services.apiserver.request import Request
from services.apiserver.results import Written
from services.apiserver.strategies.scale import replicas_fields


async def apply(pipeline: Pipeline, request: Request, body: bytes) -> Written:
    """Applies ``body`` (JSON or YAML) for the request's manager; an object that is not there is created, for whoever may create it.
    Tried again when another write comes between."""
    ref, backend = request.ref, pipeline.backend
    check_subresource(ref, "patch")
    check_options(request.options, patches=True, applies=True)
    part = part_of(ref)
    config = await aside(len(body), _parse, request, part, body)
    found = await backend.current(ref, request.deadline)
    for _ in range(ATTEMPTS):
        try:
            if found is None and ref.subresource:
                raise missing(ref)
            written = await (_create if found is None else _change)(pipeline, request, part, config)
            return written._replace(warnings=(*config.warnings, *written.warnings))
        except (NotFound, AlreadyExists):
            before, found = found, await backend.fresh(ref, request.deadline)
            if (before is None) is (found is None):
                raise
    raise modified(ref)


def _parse(request: Request, part: Whole, body: bytes) -> Configuration:
    version, field_validation = request.ref.version, request.options.field_validation
    if part.projects:
        subresource = version.subresource(request.subresource)
        return parse(body, scale.NAMES, shape_of(descriptor_of(version.body_of(subresource))), field_validation)
    return parse(body, version.names, shape_of_version(version), field_validation)


async def _change(pipeline: Pipeline, request: Request, part: Whole, config: Configuration) -> Written:
    ref = request.ref
    unreached, known = pipeline.strategies(ref.version).unreached(ref.version.message, ref.subresource), Known.for_version(ref.version)

    def propose(entry: Entry) -> Any:
        live: Any = entry.message
        applier = _applier(pipeline, request)
        if part.projects:
            proposal = apply_scale(ref, part.body(live), live, config.value, replicas_fields(live), applier)
        else:
            proposal = apply_object(ref, live, config.value, unreached, applier, known)
        metadata.check_request(ref, proposal)
        return proposal

    return await rewrite_part(pipeline, request, propose, config.size_bytes, applied=True)


async def _create(pipeline: Pipeline, request: Request, part: Whole, config: Configuration) -> Written:
    """Raises Conflict when the configuration is meant for an object that was there."""
    ref, given = request.ref, request.options
    unreached = pipeline.strategies(ref.version).unreached(ref.version.message, "")
    nothing, known = ref.version.to_storage(ref.version.message()), Known.for_version(ref.version)
    applier = _applier(pipeline, request)
    obj = await converting(pipeline, request, config.size_bytes, apply_object, ref, nothing, config.value, unreached, applier, known)
    if not obj.metadata.name:
        raise bad_request(f"the name of the object ({ref.name} based on URL) was undeterminable: name must be provided")
    if obj.metadata.uid:
        detail = f"uid mismatch: the provided object specified uid {obj.metadata.uid}, and no existing object was found"
        raise conflict(ref.resource.plural, ref.name, ref.version.group, detail)
    if obj.metadata.resource_version not in ("", "0"):
        raise modified(ref)
    options = meta.CreateOptions(dry_run=given.dry_run, field_manager=given.field_manager, field_validation=given.field_validation)
    wanted = request.as_create(options)
    await permit(pipeline.authorizer, wanted)
    return await create(pipeline, wanted, obj, tracked=True)


def _applier(pipeline: Pipeline, request: Request) -> Applier:
    return Applier(request.field_manager, pipeline.backend.clock(), request.options.force)

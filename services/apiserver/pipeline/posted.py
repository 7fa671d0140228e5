"""What is posted to a sub-resource of an object: bindings (by the scheduler) and evictions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import bad_request, conflict, invalid
from knarr.objects.copies import copy_of
from services.apiserver.admission.attributes import CREATE
from services.apiserver.admission.chain import NO_ADMISSION
from services.apiserver.apply.names import check_options
from services.apiserver.entry import Entry
from services.apiserver.pipeline import metadata
from services.apiserver.pipeline.delete import remove
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import check_subresource
from services.apiserver.pipeline.refusals import precondition_failed
from services.apiserver.pipeline.rewrite import Change, rewrite
from services.apiserver.request import Request
from services.apiserver.results import Ref, Written
from services.apiserver.strategies.pod.binding import bind, refusal, validate_binding


async def post(pipeline: Pipeline, request: Request, body: Message) -> Written:
    """Does what is posted for the object ``request.name``; answers a Status. Admission sees the body, created."""
    ref, admission = request.ref, pipeline.admission.phases(CREATE, request.ref)
    check_subresource(ref, "create")
    check_options(request.options)
    act = POSTED.get(ref.subresource)
    if act is None:
        raise bad_request(f"{ref.resource.plural}/{ref.subresource} is a stream; it cannot be created")
    await pipeline.backend.synced(request.deadline)
    metadata.check_request(ref, body)
    await admission.mutate(request, ref.name, body)
    await admission.validate(request, ref.name, body)
    await act(pipeline, request, body)
    return Written(meta.Status(status="Success", code=201), created=True)


async def _bind(pipeline: Pipeline, request: Request, binding: Any) -> None:
    """Assigns the pod to a node, once; Conflict when it has one or is being deleted."""
    ref = request.ref
    causes = validate_binding(binding)
    if causes:
        raise invalid("Binding", ref.name, causes)

    def propose(entry: Entry) -> Any:
        pod: Any = entry.message
        if binding.metadata.uid and binding.metadata.uid != pod.metadata.uid:
            raise precondition_failed(ref, f"UID in precondition: {binding.metadata.uid}, UID in object meta: {pod.metadata.uid}")
        if detail := refusal(pod):
            raise conflict(f"{ref.resource.plural}/{ref.subresource}", ref.name, ref.version.group, detail)
        bind(pod, binding, pipeline.backend.clock())
        pod.metadata.resource_version = ""
        return pod

    await rewrite(pipeline, request, propose, _as_proposed)


async def _evict(pipeline: Pipeline, request: Request, eviction: Any) -> None:
    """Deletes the pod with the eviction's delete options. As in Kubernetes, admission is not asked about that delete again."""
    ref, options = request.ref, copy_of(eviction.delete_options)
    options.dry_run.extend(name for name in request.options.dry_run if name not in options.dry_run)
    await remove(pipeline, request, Ref(ref.version, ref.namespace, ref.name), options, NO_ADMISSION)


async def _as_proposed(entry: Entry, proposal: Any) -> Change:
    return Change(entry.message, proposal)


# By the name of the sub-resource.
POSTED: dict[str, Callable[[Pipeline, Request, Any], Awaitable[None]]] = {"binding": _bind, "eviction": _evict}

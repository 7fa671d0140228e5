"""What is posted to a sub-resource of an object: bindings (by the scheduler), evictions, and requests for tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import bad_request, conflict, invalid
from services.apiserver.admission.attributes import CREATE
from services.apiserver.apply.names import check_options
from services.apiserver.entry import Entry
from services.apiserver.pipeline import metadata
from services.apiserver.pipeline.eviction import evict
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import check_subresource
from services.apiserver.pipeline.refusals import precondition_failed
from services.apiserver.pipeline.rewrite import Change, rewrite
from services.apiserver.pipeline.token_request import issue_token
from services.apiserver.request import Request
from services.apiserver.results import Ref, Written
from services.apiserver.strategies.pod.binding import bind, refusal, validate_binding

TOKEN = "token"


async def post(pipeline: Pipeline, request: Request, body: Message) -> Written:
    """Does what is posted for the object ``request.name``; answers what it says, or a Status. Admission sees the body, created."""
    ref = request.ref
    check_subresource(ref, "create")
    check_options(request.options)
    act = POSTED.get(ref.subresource)
    if act is None:
        raise bad_request(f"{ref.resource.plural}/{ref.subresource} is a stream; it cannot be created")
    await pipeline.backend.synced(request.deadline)
    metadata.check_request(Ref(ref.version, ref.namespace), body)
    _check_name(ref, body)
    admission = pipeline.admission.phases(CREATE, ref)
    if await admission.mutate(request, ref.name, body):
        metadata.check_request(Ref(ref.version, ref.namespace), body)
        _check_name(ref, body)
    await admission.validate(request, ref.name, body)
    answer = await act(pipeline, request, body)
    return Written(meta.Status(status="Success", code=201) if answer is None else answer, created=True)


def _check_name(ref: Ref, body: Any) -> None:
    """Unlike an object, what is posted must say what it is about, but for who asks for a token. Raises BadRequest."""
    if body.metadata.name != ref.name and (body.metadata.name or ref.subresource != TOKEN):
        raise bad_request(f"name in URL does not match name in {body.DESCRIPTOR.name} object")


async def _bind(pipeline: Pipeline, request: Request, binding: Any) -> None:
    """Assigns the pod to a node, once; Conflict when it has one or is being deleted."""
    ref = request.ref
    causes = validate_binding(binding)
    if causes:
        raise invalid("Binding", ref.name, causes)

    def propose(entry: Entry) -> Any:
        pod: Any = entry.message
        _check_meant(ref, binding.metadata, pod.metadata)
        if detail := refusal(pod):
            raise conflict(f"{ref.resource.plural}/{ref.subresource}", ref.name, ref.version.group, detail)
        bind(pod, binding, pipeline.backend.clock())
        pod.metadata.resource_version = ""
        return pod

    await rewrite(pipeline, request, propose, _as_proposed)


def _check_meant(ref: Ref, meant: meta.ObjectMeta, found: meta.ObjectMeta) -> None:
    """Whoever binds may say which pod it means, and that it is to be as it was seen. Raises Conflict."""
    for field, name in (("uid", "UID"), ("resource_version", "ResourceVersion")):
        wanted, is_now = getattr(meant, field), getattr(found, field)
        if wanted and wanted != is_now:
            raise precondition_failed(ref, f"{name} in precondition: {wanted}, {name} in object meta: {is_now}")


async def _as_proposed(entry: Entry, proposal: Any) -> Change:
    return Change(entry.message, proposal)


# By the name of the sub-resource.
POSTED: dict[str, Callable[[Pipeline, Request, Any], Awaitable[Message | None]]] = {
    "binding": _bind,
    "eviction": evict,
    TOKEN: issue_token,
}

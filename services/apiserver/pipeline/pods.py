"""What is posted to a sub-resource of a pod: bindings (by the scheduler) and evictions."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause, StatusError, bad_request, conflict, invalid
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from services.apiserver.admission.attributes import CREATE
from services.apiserver.admission.chain import NO_ADMISSION
from services.apiserver.entry import Entry
from services.apiserver.pipeline import metadata
from services.apiserver.pipeline.delete import remove
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import check_subresource
from services.apiserver.pipeline.refusals import precondition_failed
from services.apiserver.pipeline.rewrite import Change, rewrite
from services.apiserver.request import Request
from services.apiserver.results import Ref, Written


async def create_subresource(pipeline: Pipeline, request: Request, obj: Message) -> Written:
    """Does what is posted for the object ``request.name``; answers a Status. Admission sees the body, created."""
    ref, admission = request.ref, pipeline.admission.phases(CREATE, request.ref)
    check_subresource(ref, "create")
    act = POSTED.get(ref.subresource)
    if act is None:
        raise bad_request(f"{ref.resource.plural}/{ref.subresource} is a stream; it cannot be created")
    await pipeline.backend.synced(request.deadline)
    metadata.check_request(ref, obj)
    await admission.mutate(request, ref.name, obj)
    await admission.validate(request, ref.name, obj)
    await act(pipeline, request, obj)
    return Written(meta.Status(status="Success", code=201), created=True)


async def bind(pipeline: Pipeline, request: Request, binding: Any) -> None:
    """Assigns the pod to a node, once; Conflict when it has one or is being deleted."""
    ref, target = request.ref, binding.target
    causes = check_target(target)
    if causes:
        raise invalid("Binding", ref.name, causes)

    def propose(entry: Entry) -> Any:
        pod: Any = entry.message
        if binding.metadata.uid and binding.metadata.uid != pod.metadata.uid:
            detail = f"UID in precondition: {binding.metadata.uid}, UID in object meta: {pod.metadata.uid}"
            raise precondition_failed(ref, detail)
        if is_deleting(pod):
            raise _refused(ref, f"pod {ref.name} is being deleted, cannot be assigned to a host")
        if pod.spec.node_name:
            raise _refused(ref, f"pod {ref.name} is already assigned to node {pod.spec.node_name!r}".replace("'", '"'))
        pod.spec.node_name = target.name
        for key, value in binding.metadata.annotations.items():
            pod.metadata.annotations[key] = value
        set_condition(pod.status, "PodScheduled", True, now=pipeline.backend.clock())
        pod.metadata.resource_version = ""
        return pod

    await rewrite(pipeline, request, propose, _as_proposed)


def check_target(target: Any) -> list[Cause]:
    """What is wrong with the object reference of a binding."""
    causes: list[Cause] = []
    if target.kind not in ("", "Node"):
        supported = 'supported values: "Node", "<empty>"'
        causes.append(Cause("FieldValueNotSupported", f'Unsupported value: "{target.kind}": {supported}', "target.kind"))
    if not target.name:
        causes.append(Cause("FieldValueRequired", "Required value", "target.name"))
    return causes


async def evict(pipeline: Pipeline, request: Request, eviction: Any) -> None:
    """Deletes the pod with the eviction's delete options. As in Kubernetes, admission is not asked about that delete again."""
    ref, options = request.ref, copy_of(eviction.delete_options)
    options.dry_run.extend(name for name in request.options.dry_run if name not in options.dry_run)
    await remove(pipeline, request, Ref(ref.version, ref.namespace, ref.name), options, NO_ADMISSION)


POSTED = {"binding": bind, "eviction": evict}


async def _as_proposed(entry: Entry, pod: Any) -> Change:
    return Change(entry.message, pod)


def _refused(ref: Ref, detail: str) -> StatusError:
    return conflict("pods/binding", ref.name, ref.version.group, detail)

"""What is created under a pod: bindings (by the scheduler) and evictions."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause, StatusError, bad_request, conflict, invalid
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from services.apiserver.allocators.allocator import Allocators
from services.apiserver.entry import Entry
from services.apiserver.pipeline import metadata
from services.apiserver.pipeline.backend import Backend
from services.apiserver.pipeline.delete import delete
from services.apiserver.pipeline.read import check_subresource
from services.apiserver.pipeline.rewrite import rewrite
from services.apiserver.results import Ref, Written


async def create_subresource(backend: Backend, allocators: Allocators, ref: Ref, obj: Message, options: meta.CreateOptions) -> Written:
    """A binding or an eviction of the pod ``ref.name``; answers a Status."""
    check_subresource(ref, "create")
    metadata.check_request(ref, obj)
    if ref.subresource == "binding":
        return await bind(backend, allocators, ref, obj, options)
    if ref.subresource == "eviction":
        return await evict(backend, allocators, ref, obj, options)
    raise bad_request(f"{ref.resource.plural}/{ref.subresource} is a stream; it cannot be created")


async def bind(backend: Backend, allocators: Allocators, ref: Ref, binding: Any, options: meta.CreateOptions) -> Written:
    """Assigns the pod to a node, once; Conflict when it has one or is being deleted."""
    target = binding.target
    causes = check_target(target)
    if causes:
        raise invalid("Binding", ref.name, causes)

    def propose(entry: Entry) -> Any:
        pod: Any = entry.message
        if binding.metadata.uid and binding.metadata.uid != pod.metadata.uid:
            detail = f"UID in precondition: {binding.metadata.uid}, UID in object meta: {pod.metadata.uid}"
            raise metadata.precondition_failed(ref, detail)
        if is_deleting(pod):
            raise _refused(ref, f"pod {ref.name} is being deleted, cannot be assigned to a host")
        if pod.spec.node_name:
            raise _refused(ref, f"pod {ref.name} is already assigned to node {pod.spec.node_name!r}".replace("'", '"'))
        pod.spec.node_name = target.name
        for key, value in binding.metadata.annotations.items():
            pod.metadata.annotations[key] = value
        set_condition(pod.status, "PodScheduled", True, now=backend.clock())
        pod.metadata.resource_version = ""
        return pod

    await rewrite(backend, allocators, ref, propose, _unchecked, dry_run=bool(options.dry_run))
    return Written(meta.Status(status="Success", code=201), created=True)


def check_target(target: Any) -> list[Cause]:
    """What is wrong with the object reference of a binding."""
    causes: list[Cause] = []
    if target.kind not in ("", "Node"):
        supported = 'supported values: "Node", "<empty>"'
        causes.append(Cause("FieldValueNotSupported", f'Unsupported value: "{target.kind}": {supported}', "target.kind"))
    if not target.name:
        causes.append(Cause("FieldValueRequired", "Required value", "target.name"))
    return causes


async def evict(backend: Backend, allocators: Allocators, ref: Ref, eviction: Any, options: meta.CreateOptions) -> Written:
    """Deletes the pod with the eviction's delete options."""
    wanted = copy_of(eviction.delete_options)
    wanted.dry_run.extend(name for name in options.dry_run if name not in wanted.dry_run)
    await delete(backend, allocators, Ref(ref.version, ref.namespace, ref.name, user=ref.user), wanted)
    return Written(meta.Status(status="Success", code=201), created=True)


async def _unchecked(new: Any, old: Any) -> tuple[str, ...]:
    return ()


def _refused(ref: Ref, detail: str) -> StatusError:
    return conflict("pods/binding", ref.name, ref.version.group, detail)

"""Streams from the node that runs a pod: its containers' output, commands in them, and connections to its ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Cause, bad_request, invalid
from knarr.machinery.validation import NO_FIELD, forbidden, not_supported
from knarr.objects.copies import copy_of
from knarr.service.streams.conversation import Command
from knarr.service.streams.forwards import Forward
from services.apiserver.admission.attributes import CONNECT
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import cached, check_subresource
from services.apiserver.request import Request
from services.apiserver.results import Ref

NODES = version_of(core.Node)
# What a log may be narrowed to.
LOG_STREAMS = ALL_STREAMS, _, _ = ("All", "Stderr", "Stdout")


class NoOutput:
    """Of a pod that has no node yet, and so has said nothing."""

    def __aiter__(self) -> NoOutput:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


NO_OUTPUT = NoOutput()


async def logs(pipeline: Pipeline, request: Request) -> AsyncIterator[bytes]:
    """Refuses at once what the pod refuses; what its node refuses, the iterator raises. As in Kubernetes admission is not asked."""
    check_subresource(request.ref, request.verb)
    wanted: face.LogRequest = copy_of(request.options)
    if causes := list(_log_causes(wanted)):
        raise invalid("PodLogOptions", request.ref.name, causes)
    pod = await _pod(pipeline, request)
    wanted.container = choose_container(pod, wanted.container)
    if not pod.spec.node_name:
        return NO_OUTPUT
    return pipeline.node_streams.logs(pod, await node_of(pipeline, request, pod), wanted)


def _log_causes(wanted: face.LogRequest) -> Iterator[Cause]:
    """What is wrong with the options of a log, in the names of PodLogOptions."""
    for field, name, least in (("tail_lines", "tailLines", 0), ("limit_bytes", "limitBytes", 1), ("since_seconds", "sinceSeconds", 1)):
        value = getattr(wanted, field)
        if wanted.HasField(field) and value < least:
            problem = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            yield Cause("FieldValueInvalid", f"Invalid value: {value}: {problem}", name)
    if wanted.since_time and wanted.HasField("since_seconds"):
        yield Cause("FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", NO_FIELD)
    if wanted.HasField("stream"):
        if wanted.stream not in LOG_STREAMS:
            yield not_supported("stream", wanted.stream, LOG_STREAMS)
        if wanted.stream != ALL_STREAMS and wanted.HasField("tail_lines"):
            yield forbidden(NO_FIELD, "`tailLines` and specific `stream` are mutually exclusive for now")


async def exec(pipeline: Pipeline, request: Request) -> Command:
    """Refuses at once what admission or the pod refuse. Admission is given the command's start as the object of a CONNECT."""
    pod, node, start = await _start(pipeline, request)
    return lambda requests: pipeline.node_streams.exec(pod, node, start, requests)


async def attach(pipeline: Pipeline, request: Request) -> Command:
    """Refuses at once what admission or the pod refuse; admission is asked as for a command."""
    pod, node, start = await _start(pipeline, request)
    return lambda requests: pipeline.node_streams.attach(pod, node, start, requests)


async def port_forward(pipeline: Pipeline, request: Request) -> Forward:
    """Refuses at once what admission or the pod refuse. Admission is given the options as the object of a CONNECT."""
    await connect(pipeline, request)
    pod = await _pod(pipeline, request)
    node = await node_of(pipeline, request, pod)
    return lambda port, data: pipeline.node_streams.forward(pod, node, port, data)


async def _start(pipeline: Pipeline, request: Request) -> tuple[core.Pod, core.Node, face.ExecStart]:
    start: face.ExecStart = await connect(pipeline, request)
    pod = await _pod(pipeline, request)
    start.container = choose_container(pod, start.container)
    return pod, await node_of(pipeline, request, pod), start


async def connect(pipeline: Pipeline, request: Request) -> Any:
    """The options as admission leaves them."""
    check_subresource(request.ref, request.verb)
    options = copy_of(request.options)
    await pipeline.backend.synced(request.deadline)
    admission = pipeline.admission.phases(CONNECT, request.ref)
    await admission.mutate(request, request.name, options)
    await admission.validate(request, request.name, options)
    return options


def choose_container(pod: core.Pod, wanted: str) -> str:
    """The container meant; raises BadRequest when it is not in the pod or not clear."""
    names = [container.name for container in pod.spec.containers]
    others = [container.name for container in pod.spec.init_containers]
    others += [container.ephemeral_container_common.name for container in pod.spec.ephemeral_containers]
    if wanted:
        if wanted not in names and wanted not in others:
            raise bad_request(f"container {wanted} is not valid for pod {pod.metadata.name}")
        return wanted
    if len(names) == 1:
        return names[0]
    text = f"a container name must be specified for pod {pod.metadata.name}, choose one of: [{' '.join(names)}]"
    if pod.spec.init_containers:
        text += f" or one of the init containers: [{' '.join(container.name for container in pod.spec.init_containers)}]"
    raise bad_request(text)


async def _pod(pipeline: Pipeline, request: Request) -> core.Pod:
    pod: core.Pod = (await cached(pipeline, request, request.ref)).shared_message
    return pod


async def node_of(pipeline: Pipeline, request: Request, pod: core.Pod) -> core.Node:
    """The node that the pod runs on."""
    if not pod.spec.node_name:
        raise bad_request(f"pod {pod.metadata.name} does not have a host assigned")
    node: core.Node = (await cached(pipeline, request, Ref(NODES, name=pod.spec.node_name))).shared_message
    return node

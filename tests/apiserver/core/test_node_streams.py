"""Logs and exec reach the kubelet that runs the pod, through ``NodeStreams`` and the gRPC face."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as kubelet
from knarr.api.kubelet.v1 import kubelet_service_pb2_grpc as kubelet_grpc
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry, version_of
from knarr.machinery.errors import StatusError, bad_request, not_found
from knarr.service.authentication import set_current_user
from services.apiserver.api import Api, Ref
from services.apiserver.node_streams import GrpcNodeStreams
from services.apiserver.servicer import ResourceServicer
from tests.support.caller import Caller


async def refuse(context: Any, code: grpc.StatusCode, error: StatusError) -> None:
    context.set_trailing_metadata((("knarr-status-bin", error.status.SerializeToString()),))
    await context.abort(code, error.status.message)


class Kubelet(kubelet_grpc.KubeletServiceServicer):
    """Says what it was asked; exec echoes its input."""

    async def Logs(self, request: kubelet.LogsRequest, context: Any) -> AsyncIterator[kubelet.LogsResponse]:
        if request.previous:
            await refuse(context, grpc.StatusCode.NOT_FOUND, not_found("containers", "c"))
        yield kubelet.LogsResponse(data=f"{request.container.pod}/{request.container.container} ".encode())
        stream = f" stream={request.stream}" if request.HasField("stream") else ""
        yield kubelet.LogsResponse(data=f"tail={request.tail_lines}{stream}".encode())

    async def Exec(self, requests: AsyncIterator[kubelet.ExecRequest], context: Any) -> AsyncIterator[kubelet.ExecResponse]:
        started = False
        async for request in requests:
            if list(request.start.command) == ["refused"]:
                await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, bad_request("the container does not run"))
            if list(request.start.command) == ["exit"]:
                break
            if not started:
                started = True
                await context.send_initial_metadata(())
            part = request.WhichOneof("part")
            if part == "start":
                yield kubelet.ExecResponse(stdout=" ".join(request.start.command).encode())
            elif part == "stdin":
                yield kubelet.ExecResponse(stdout=request.stdin)
            elif part == "resize":
                yield kubelet.ExecResponse(stderr=f"{request.resize.width}x{request.resize.height}".encode())
            elif part == "stdin_closed":
                break
        yield kubelet.ExecResponse(status=meta.Status(status="Success"))


@pytest.fixture
async def streams(api: Caller) -> AsyncIterator[Caller]:
    """A pod ``p`` on a node whose kubelet listens; a pod ``lost`` on one that does not."""
    server = grpc.aio.server()
    kubelet_grpc.add_KubeletServiceServicer_to_server(Kubelet(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    for name, where in (("node", port), ("dead", 1)):
        node = core.Node()
        node.metadata.name = name
        await api.create(Ref(version_of(core.Node)), node, meta.CreateOptions())
        node.status.addresses.add(type="InternalIP", address="127.0.0.1")
        node.status.daemon_endpoints.kubelet_endpoint.port = where
        node.metadata.resource_version = ""
        await api.update(Ref(version_of(core.Node), name=name, subresource="status"), node, meta.UpdateOptions())
    for name, where_to in (("p", "node"), ("lost", "dead"), ("waiting", "")):
        pod = core.Pod()
        pod.metadata.name, pod.spec.node_name = name, where_to
        pod.spec.containers.add(name="c", image="busybox")
        await api.create(Ref(version_of(core.Pod), "default"), pod, meta.CreateOptions())
    channels: dict[str, grpc.aio.Channel] = {}

    def channel(node: str, address: str) -> grpc.aio.Channel:
        return channels.setdefault(address, grpc.aio.insecure_channel(address))

    yield Caller(Api(dataclasses.replace(api.api.pipeline, node_streams=GrpcNodeStreams(channel))))
    for opened in channels.values():
        await opened.close()
    await server.stop(0)


async def logs(streams: Caller, **fields: Any) -> bytes:
    wanted = face.LogRequest(namespace="default", **fields)
    async with asyncio.timeout(10):
        return b"".join([data async for data in await streams.logs(Ref(version_of(core.Pod), "default", wanted.pod, "log"), wanted)])


async def run(streams: Caller, *command: str, requests: AsyncIterator[face.ExecRequest]) -> AsyncIterator[face.ExecResponse]:
    start = face.ExecStart(namespace="default", pod="p", command=command, stdin=True)
    return (await streams.exec(Ref(version_of(core.Pod), "default", "p", "exec"), start))(requests)


class Context:
    """Of an RPC without a deadline."""

    def time_remaining(self) -> None:
        return None


async def test_logs_stream_through(streams: Caller) -> None:
    assert await logs(streams, pod="p", tail_lines=5) == b"p/c tail=5"
    assert await logs(streams, pod="p", stream="Stderr") == b"p/c tail=0 stream=Stderr"


async def test_a_pod_without_a_node_has_said_nothing(streams: Caller) -> None:
    assert await logs(streams, pod="waiting", follow=True) == b""


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"pod": "none"}, 404, 'pods "none" not found'),
        ({"pod": "p", "container": "x"}, 400, "container x is not valid for pod p"),
        ({"pod": "lost"}, 503, "the kubelet of node dead cannot be reached"),
        ({"pod": "p", "tail_lines": -1}, 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"pod": "none", "limit_bytes": 0}, 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"pod": "p", "since_seconds": -(2**63)}, 422, "sinceSeconds: Invalid value: -9223372036854775808: must be greater than 0"),
        ({"pod": "p", "since_seconds": 1, "since_time": "2026-01-01T00:00:00Z"}, 422, "at most one of `sinceTime` or `sinceSeconds`"),
        ({"pod": "p", "stream": "both"}, 422, 'stream: Unsupported value: "both": supported values: "All", "Stderr", "Stdout"'),
        ({"pod": "p", "stream": "Stdout", "tail_lines": 1}, 422, "`tailLines` and specific `stream` are mutually exclusive"),
        ({"pod": "p", "previous": True}, 404, 'containers "c" not found'),
    ],
)
async def test_what_cannot_be_streamed_is_said_plainly(streams: Caller, fields: dict[str, Any], code: int, words: str) -> None:
    with pytest.raises(StatusError, match=words) as caught:
        await logs(streams, **fields)
    assert caught.value.code == code


async def test_exec_passes_both_ways_through_the_grpc_face(streams: Caller) -> None:
    async def requests() -> AsyncIterator[face.ExecRequest]:
        yield face.ExecRequest(start=face.ExecStart(namespace="default", pod="p", command=["echo", "hi"], stdin=True))
        yield face.ExecRequest(stdin=b"input")
        yield face.ExecRequest(resize=face.TerminalSize(width=80, height=24))
        yield face.ExecRequest(stdin_closed=True)

    async def answers() -> list[face.ExecResponse]:
        set_current_user(streams.user)
        servicer = ResourceServicer(streams.api, registry())
        return [response async for response in servicer.Exec(requests(), Context())]

    async with asyncio.timeout(10):
        found = await asyncio.create_task(answers())
    assert [response.stdout or response.stderr for response in found[:3]] == [b"echo hi", b"input", b"80x24"]
    assert found[3].status.status == "Success"


async def flood() -> AsyncIterator[face.ExecRequest]:
    """A client that does not stop sending."""
    while True:
        yield face.ExecRequest(stdin=b"x" * 10_000)
        await asyncio.sleep(0)


async def test_the_reason_of_a_refusal_outlives_a_flood_of_input(streams: Caller) -> None:
    for _ in range(20):
        async with asyncio.timeout(10):
            with pytest.raises(StatusError, match="the container does not run"):
                await anext(await run(streams, "refused", requests=flood()))


async def test_a_command_that_does_not_read_ends_with_its_status(streams: Caller) -> None:
    for _ in range(20):
        async with asyncio.timeout(10):
            found = [response async for response in await run(streams, "exit", requests=flood())]
        assert [response.status.status for response in found] == ["Success"]


async def test_exec_must_begin_with_its_start(streams: Caller) -> None:
    async def requests() -> AsyncIterator[face.ExecRequest]:
        yield face.ExecRequest(stdin=b"input")

    with pytest.raises(StatusError, match="first request of Exec"):
        await anext(ResourceServicer(streams.api, registry()).Exec(requests(), Context()))

"""Logs, exec, attach and connections to ports: streams from the node that runs a pod, passed through by the API server.

``NodeStreams`` is the port of the pipeline, which decides who may open a stream; ``GrpcNodeStreams`` reaches the kubelet.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Protocol

import grpc

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as kubelet
from knarr.api.kubelet.v1 import kubelet_service_pb2_grpc as kubelet_grpc
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, error_of, status_error
from knarr.service import endings

DIAL_SECONDS = 30.0
READ_BYTES = 64 * 1024
STATUS_METADATA = "knarr-status-bin"

# Given a node's name and ``host:port`` of its kubelet, answers an open channel; the caller of it does not close it.
ChannelFactory = Callable[[str, str], grpc.aio.Channel]


class KubeletCredentials(NamedTuple):
    """How this server speaks to one kubelet by HTTPS: whom ``context`` trusts and what it shows, the ``name`` that the kubelet's
    certificate is of, and the headers that say who this server is."""

    context: ssl.SSLContext
    name: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


# Given a node's name, answers those for its kubelet; None: this server has none.
CredentialsOf = Callable[[str], KubeletCredentials | None]


class NodeStreams(Protocol):
    """``pod`` runs on ``node``; the container is named. All methods raise StatusError, before the first item or in the middle of a
    stream. Leaving an iterator (``aclose``) ends its stream."""

    def logs(self, pod: core.Pod, node: core.Node, request: face.LogRequest) -> AsyncIterator[bytes]:
        """A container's output."""
        ...

    def exec(
        self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
    ) -> AsyncIterator[face.ExecResponse]:
        """Runs a command. ``requests`` are those after the start; the last response carries the status."""
        ...

    def attach(
        self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
    ) -> AsyncIterator[face.ExecResponse]:
        """Connects to the container's main process, as ``exec`` does to a new one."""
        ...

    def forward(
        self, pod: core.Pod, node: core.Node, port: int, data: AsyncIterator[bytes], *, by_address: bool = False
    ) -> AsyncIterator[bytes]:
        """One TCP connection to a port on the pod's loopback, or on its address: ``data`` goes in, and its end is the half-close; what
        the pod says comes out. Raises, where it cannot be made, what the node says."""
        ...

    def connect(self, address: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """One TCP connection to a node itself, from here; otherwise like ``forward``."""
        ...


class NoNodeStreams:
    """Of an API server that has no way to the nodes."""

    def logs(self, pod: core.Pod, node: core.Node, request: face.LogRequest) -> AsyncIterator[bytes]:
        raise _no_way()

    def exec(
        self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
    ) -> AsyncIterator[face.ExecResponse]:
        raise _no_way()

    def attach(
        self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
    ) -> AsyncIterator[face.ExecResponse]:
        raise _no_way()

    def forward(
        self, pod: core.Pod, node: core.Node, port: int, data: AsyncIterator[bytes], *, by_address: bool = False
    ) -> AsyncIterator[bytes]:
        raise _no_way()

    def connect(self, address: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        raise _no_way()


class GrpcNodeStreams:
    """Streams through ``KubeletService`` at the address that the Node names."""

    def __init__(self, channel: ChannelFactory) -> None:
        self._channel = channel

    async def logs(self, pod: core.Pod, node: core.Node, request: face.LogRequest) -> AsyncIterator[bytes]:
        wanted = kubelet.LogsRequest(
            follow=request.follow, previous=request.previous, timestamps=request.timestamps, since_time=request.since_time
        )
        _name(wanted.container, pod, request.container)
        for field in ("tail_lines", "since_seconds", "limit_bytes", "stream"):
            if request.HasField(field):
                setattr(wanted, field, getattr(request, field))
        call = self._stub(node).Logs(wanted)
        try:
            async for response in call:
                yield response.data
        except grpc.aio.AioRpcError as error:
            raise node_error(error, pod) from error
        finally:
            call.cancel()

    def exec(
        self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
    ) -> AsyncIterator[face.ExecResponse]:
        return _converse(self._stub(node).Exec, kubelet.ExecRequest, pod, start, requests)

    def attach(
        self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
    ) -> AsyncIterator[face.ExecResponse]:
        return _converse(self._stub(node).Attach, kubelet.AttachRequest, pod, start, requests)

    async def forward(
        self, pod: core.Pod, node: core.Node, port: int, data: AsyncIterator[bytes], *, by_address: bool = False
    ) -> AsyncIterator[bytes]:
        wanted = kubelet.PortForwardStart(namespace=pod.metadata.namespace, pod=pod.metadata.name, port=port, by_address=by_address)
        call = self._stub(node).PortForward()
        pieces = (kubelet.PortForwardRequest(data=piece) async for piece in data)
        async with _fed(call, kubelet.PortForwardRequest(start=wanted), pieces, pod):
            async for response in call:
                yield response.data

    def connect(self, address: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return _tcp(address, port, data)

    def _stub(self, node: core.Node) -> Any:
        return kubelet_grpc.KubeletServiceStub(self._channel(node.metadata.name, kubelet_address(node)))


def _no_way() -> StatusError:
    return status_error("ServiceUnavailable", "this server has no way to the nodes")


async def _converse(
    method: Any, message: Any, pod: core.Pod, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
) -> AsyncIterator[face.ExecResponse]:
    """Both contracts give the parts of a stream the same numbers, so the bytes fit."""
    wanted = kubelet.ExecStart(command=start.command, stdin=start.stdin, stdout=start.stdout, stderr=start.stderr, tty=start.tty)
    _name(wanted.container, pod, start.container)
    call = method()
    passed = (message.FromString(request.SerializeToString()) async for request in requests)
    async with _fed(call, message(start=wanted), passed, pod):
        async for response in call:
            yield face.ExecResponse.FromString(response.SerializeToString())
            if response.HasField("status"):
                return


@asynccontextmanager
async def _fed(call: Any, start: Any, requests: AsyncIterator[Any], pod: core.Pod) -> AsyncIterator[None]:
    """Sends to a call while its answers are read within; in the end it is over, and an error of it is the node's."""
    feeder = asyncio.create_task(_feed(call, start, requests), name="sent to the node")
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise node_error(error, pod) from error
    finally:
        call.cancel()
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)


async def _feed(call: Any, start: Any, requests: AsyncIterator[Any]) -> None:
    """Sends the start, and the input once the node has said that it goes on.

    Where it refuses, the call ends with the reason; a write that met the end would put its own error in that place.
    """
    try:
        await call.write(start)
        await call.initial_metadata()
        async for request in requests:
            await call.write(request)
        await call.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        return  # the call has ended; its reader hears why


async def _tcp(address: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    where = f"dial tcp {address}:{port}"
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
    except TimeoutError as error:
        raise status_error("ServiceUnavailable", f"{where}: i/o timeout") from error
    except OSError as error:
        words = os.strerror(error.errno).lower() if error.errno else str(error)
        raise status_error("ServiceUnavailable", f"{where}: connect: {words}") from error
    feeder = asyncio.create_task(_write(writer, data), name="said to a node")
    try:
        while piece := await reader.read(READ_BYTES):
            yield piece
    finally:
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)
        await endings.close(writer)


async def _write(writer: asyncio.StreamWriter, data: AsyncIterator[bytes]) -> None:
    with suppress(OSError):
        async for piece in data:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


def _name(target: Any, pod: Any, container: str) -> None:
    target.namespace, target.pod, target.container = pod.metadata.namespace, pod.metadata.name, container


def node_address(node: Any) -> str:
    """Where a node is reached from here; empty while it does not say."""
    addresses = {address.type: address.address for address in reversed(node.status.addresses)}
    return addresses.get("InternalIP") or addresses.get("Hostname") or ""


def kubelet_address(node: Any) -> str:
    """``host:port`` of a node's KubeletService; raises ServiceUnavailable while the node does not say."""
    host = node_address(node)
    port = node.status.daemon_endpoints.kubelet_endpoint.port
    if not host or not port:
        raise status_error("ServiceUnavailable", f"node {node.metadata.name} has not said yet where its kubelet listens")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def node_error(error: grpc.aio.AioRpcError, pod: Any) -> StatusError:
    """The Status that the kubelet sent, or one that says which node cannot be reached."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_METADATA and isinstance(value, bytes):
            return error_of(meta.Status.FromString(value))
    node = pod.spec.node_name
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        message = f"the kubelet of node {node} cannot be reached: {error.details()}"
        return status_error("ServiceUnavailable", message)
    return status_error("InternalError", f"the kubelet of node {node}: {error.details()}")

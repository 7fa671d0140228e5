"""Asking an engine by the public contract (proto/knarr/api/cri/v1): every call has a deadline, and errors are the runtime port's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import grpc
import grpc.aio

from knarr.api.containerd.content.v1 import content_pb2_grpc
from knarr.api.containerd.events.v1 import events_pb2 as events
from knarr.api.containerd.events.v1 import events_pb2_grpc
from knarr.api.containerd.images.v1 import images_pb2_grpc
from knarr.api.containerd.leases.v1 import leases_pb2_grpc
from knarr.api.containerd.snapshots.v1 import snapshots_pb2_grpc
from knarr.api.cri.v1 import image_pb2_grpc, runtime_pb2_grpc
from knarr.client.channel import Options, open_plain_channel
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable

# The outputs of a command may have 16 MB each.
MAX_MESSAGE_BYTES = 40 << 20
# An engine that comes back is found within so long.
OPTIONS: Options = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
# Where containerd keeps what its CRI plugin makes.
NAMESPACE = "k8s.io"
Metadata = tuple[tuple[str, str], ...]
UNREACHED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


class EngineError(RuntimeFailure):
    """The engine refused or failed; the message is its own."""


class EngineNotFound(EngineError):
    """What is asked about is not there."""


class EngineAlreadyExists(EngineError):
    """What is to be made is there."""


class EngineUnimplemented(EngineError):
    """The engine knows no such call."""


KINDS = {
    grpc.StatusCode.NOT_FOUND: EngineNotFound,
    grpc.StatusCode.ALREADY_EXISTS: EngineAlreadyExists,
    grpc.StatusCode.UNIMPLEMENTED: EngineUnimplemented,
}


class Engine:
    """One engine at ``unix://path``. Raises EngineError and RuntimeUnavailable. To be used on one loop."""

    def __init__(self, endpoint: str, timeout_seconds: float) -> None:
        scheme, _, path = endpoint.partition("://")
        if scheme != "unix" or not path.startswith("/"):
            raise ValueError(f"container runtime endpoint {endpoint!r}: expected unix:///path/to/socket")
        self.endpoint = endpoint
        self._target = f"unix:{path}"
        self._timeout_seconds = timeout_seconds
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def runtime(self, method: str, request: Any, timeout_seconds: float | None = None) -> Any:
        """A call of RuntimeService."""
        return await self._call(getattr(runtime_pb2_grpc.RuntimeServiceStub(self._open()), method), request, timeout_seconds)

    async def image(self, method: str, request: Any, timeout_seconds: float | None = None) -> Any:
        """A call of ImageService."""
        return await self._call(getattr(image_pb2_grpc.ImageServiceStub(self._open()), method), request, timeout_seconds)

    async def leases(self, method: str, request: Any) -> Any:
        """A call of containerd's Leases: what is made under one it keeps for as long as that lasts."""
        return await self._call(getattr(leases_pb2_grpc.LeasesStub(self._open()), method), request, None, _own())

    async def snapshots(self, method: str, request: Any, lease: str) -> Any:
        """A call of containerd's Snapshots, under a lease."""
        return await self._call(getattr(snapshots_pb2_grpc.SnapshotsStub(self._open()), method), request, None, _own(lease))

    async def get_image(self, request: Any) -> Any:
        """What a name in containerd's own store of images stands for."""
        return await self._call(images_pb2_grpc.ImagesStub(self._open()).Get, request, None, _own())

    async def create_image(self, request: Any, lease: str) -> None:
        """A name in containerd's own store of images."""
        await self._call(images_pb2_grpc.ImagesStub(self._open()).Create, request, None, _own(lease))

    async def update_image(self, request: Any, lease: str) -> None:
        """Gives a name in containerd's own store to another image."""
        await self._call(images_pb2_grpc.ImagesStub(self._open()).Update, request, None, _own(lease))

    async def write_content(self, request: Any, lease: str) -> None:
        """A blob into containerd's own store, in one message; one that is there already stays, under the lease too."""
        await self.stream_content(iter([request]), lease)

    async def stream_content(self, requests: Iterable[Any], lease: str, timeout_seconds: float | None = None) -> None:
        """The same in as many messages as it takes; the engine takes none beyond 16 MB.

        It answers each of them. One that is sent before the answer to the one before might still be under way when the engine says that it
        has the blob already, and gRPC would tell of that message instead.
        """
        stub = content_pb2_grpc.ContentStub(self._open())
        call = stub.Write(timeout=timeout_seconds or self._timeout_seconds, metadata=_own(lease))
        try:
            for request in requests:
                await call.write(request)
                if await call.read() is grpc.aio.EOF:
                    break
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise self._error(error) from error

    def follow_events(self, filters: list[str]) -> AsyncGenerator[events.Envelope]:
        """containerd's own events from now on, without end. Raises EngineUnimplemented where the engine is another one."""
        return self._envelopes(events_pb2_grpc.EventsStub(self._open()).Subscribe(events.SubscribeRequest(filters=filters)))

    async def _envelopes(self, call: Any) -> AsyncGenerator[events.Envelope]:
        try:
            async for envelope in call:
                yield envelope
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = open_plain_channel(self._target, OPTIONS)
        return self._channel

    async def _call(self, call: Any, request: Any, timeout_seconds: float | None, metadata: Metadata | None = None) -> Any:
        try:
            return await call(request, timeout=timeout_seconds or self._timeout_seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.aio.AioRpcError) -> RuntimeFailure:
        words = error.details() or error.code().name
        if error.code() in UNREACHED:
            return RuntimeUnavailable(f"the container runtime at {self.endpoint} does not answer: {words}")
        return KINDS.get(error.code(), EngineError)(words)


def _own(lease: str = "") -> Metadata:
    """For calls of containerd's own services."""
    return (("containerd-namespace", NAMESPACE), *((("containerd-lease", lease),) if lease else ()))

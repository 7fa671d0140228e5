"""One driver over its socket. A connection that broke is opened anew by gRPC itself; who serves there is asked again then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.csi.v1 import controller_pb2_grpc, identity_pb2, identity_pb2_grpc, node_pb2, node_pb2_grpc
from knarr.client.channel import open_plain_channel
from knarr.client.csi import QUESTION_SECONDS
from services.controller.csi.driver import Abilities, Driver, DriverError

SERVICE = identity_pb2.PluginCapability.Service


class SocketDriver(Driver):
    """``name`` is whom to expect at ``endpoint``, ``unix:///path`` as gRPC is told of it; ``seconds``: how long it may take for a call."""

    def __init__(self, name: str, endpoint: str, seconds: float) -> None:
        self._name, self._endpoint, self._seconds = name, endpoint, seconds
        self._channel: grpc.aio.Channel | None = None
        self._known: Abilities | None = None

    async def abilities(self) -> Abilities:
        if self._known is None:
            self._known = await self._ask_abilities()
        return self._known

    async def create(self, request: pb.CreateVolumeRequest) -> pb.CreateVolumeResponse:
        answer: pb.CreateVolumeResponse = await self._call(lambda stub: stub.CreateVolume(request, timeout=self._seconds))
        return answer

    async def delete(self, request: pb.DeleteVolumeRequest) -> None:
        await self._call(lambda stub: stub.DeleteVolume(request, timeout=self._seconds))

    async def publish(self, request: pb.ControllerPublishVolumeRequest) -> pb.ControllerPublishVolumeResponse:
        answer: pb.ControllerPublishVolumeResponse = await self._call(
            lambda stub: stub.ControllerPublishVolume(request, timeout=self._seconds)
        )
        return answer

    async def unpublish(self, request: pb.ControllerUnpublishVolumeRequest) -> None:
        await self._call(lambda stub: stub.ControllerUnpublishVolume(request, timeout=self._seconds))

    async def expand(self, request: pb.ControllerExpandVolumeRequest) -> pb.ControllerExpandVolumeResponse:
        answer: pb.ControllerExpandVolumeResponse = await self._call(
            lambda stub: stub.ControllerExpandVolume(request, timeout=self._seconds)
        )
        return answer

    async def modify(self, request: pb.ControllerModifyVolumeRequest) -> None:
        await self._call(lambda stub: stub.ControllerModifyVolume(request, timeout=self._seconds))

    async def capacity(self, request: pb.GetCapacityRequest) -> pb.GetCapacityResponse:
        answer: pb.GetCapacityResponse = await self._call(lambda stub: stub.GetCapacity(request, timeout=self._seconds))
        return answer

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _ask_abilities(self) -> Abilities:
        """Raises DriverError for a driver of another name, too: nothing is asked of it."""
        channel = self._open()
        identity = identity_pb2_grpc.IdentityStub(channel)
        info = await self._ask(identity.GetPluginInfo(identity_pb2.GetPluginInfoRequest(), timeout=QUESTION_SECONDS))
        if info.name != self._name:
            words = f"the driver at {self._endpoint} is {info.name}, not {self._name}: name the socket of each by --csi-driver NAME=SOCKET"
            raise DriverError(grpc.StatusCode.FAILED_PRECONDITION, words)
        plugin = await self._ask(identity.GetPluginCapabilities(identity_pb2.GetPluginCapabilitiesRequest(), timeout=QUESTION_SECONDS))
        services = {found.service.type for found in plugin.capabilities if found.HasField("service")}
        calls = frozenset[int]()
        if SERVICE.CONTROLLER_SERVICE in services:
            stub = controller_pb2_grpc.ControllerStub(channel)
            told = await self._ask(stub.ControllerGetCapabilities(pb.ControllerGetCapabilitiesRequest(), timeout=QUESTION_SECONDS))
            calls = frozenset(found.rpc.type for found in told.capabilities)
        return Abilities(calls, SERVICE.VOLUME_ACCESSIBILITY_CONSTRAINTS in services, await self._grows_on_nodes(channel))

    async def _grows_on_nodes(self, channel: grpc.aio.Channel) -> bool:
        """A socket of the controller's part alone says nothing of nodes."""
        stub = node_pb2_grpc.NodeStub(channel)
        try:
            told = await self._ask(stub.NodeGetCapabilities(node_pb2.NodeGetCapabilitiesRequest(), timeout=QUESTION_SECONDS))
        except DriverError as error:
            if error.code is grpc.StatusCode.UNIMPLEMENTED:
                return False
            raise
        wanted = node_pb2.NodeServiceCapability.RPC.EXPAND_VOLUME
        return any(found.rpc.type == wanted for found in told.capabilities)

    async def _call(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        # Who has not said his name is asked for nothing.
        await self.abilities()
        return await self._ask(call(controller_pb2_grpc.ControllerStub(self._open())))

    async def _ask(self, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                # Whoever comes back may be another version of it.
                self._known = None
            raise DriverError(error.code(), error.details() or "") from error

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = open_plain_channel(self._endpoint)
        return self._channel

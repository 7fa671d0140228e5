"""Asking one driver, by the public contract (proto/knarr/api/csi/v1): every call has a deadline, and what fails is told in gRPC's words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio

from knarr.api.csi.v1 import node_pb2 as pb
from knarr.api.csi.v1 import node_pb2_grpc
from knarr.client.channel import Options, open_plain_channel
from knarr.client.csi import QUESTION_SECONDS, words_of

# How long a driver may take for one call, as in Kubernetes.
CALL_SECONDS = 120.0
# gRPC would share it with whoever else asks at the same path just now.
OWN_CONNECTION: Options = [("grpc.use_local_subchannel_pool", 1)]
RPC = pb.NodeServiceCapability.RPC


class DriverError(Exception):
    """A driver is not there, or did not do what it was asked: for a person."""


async def ask_at(socket: Path, call: Callable[[grpc.aio.Channel], Awaitable[Any]]) -> Any:
    """One call at a socket. Raises DriverError."""
    async with open_plain_channel(f"unix:{socket}", OWN_CONNECTION) as channel:
        try:
            return await call(channel)
        except grpc.aio.AioRpcError as error:
            raise DriverError(words_of(error.code(), error.details())) from error


class DriverClient:
    """The node's part of one driver, at a socket. Each call has its own connection: a driver that was started anew is found at once."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def info(self) -> pb.NodeGetInfoResponse:
        """Who this node is to the driver. Raises DriverError, as all calls do."""
        told: pb.NodeGetInfoResponse = await self._ask(lambda stub: stub.NodeGetInfo(pb.NodeGetInfoRequest(), timeout=QUESTION_SECONDS))
        return told

    async def capabilities(self) -> frozenset[int]:
        """What it can, of ``NodeServiceCapability.RPC.Type``."""
        told = await self._ask(lambda stub: stub.NodeGetCapabilities(pb.NodeGetCapabilitiesRequest(), timeout=QUESTION_SECONDS))
        return frozenset(found.rpc.type for found in told.capabilities)

    async def stage(self, request: pb.NodeStageVolumeRequest) -> None:
        await self._ask(lambda stub: stub.NodeStageVolume(request, timeout=CALL_SECONDS))

    async def unstage(self, request: pb.NodeUnstageVolumeRequest) -> None:
        await self._ask(lambda stub: stub.NodeUnstageVolume(request, timeout=CALL_SECONDS))

    async def publish(self, request: pb.NodePublishVolumeRequest) -> None:
        await self._ask(lambda stub: stub.NodePublishVolume(request, timeout=CALL_SECONDS))

    async def unpublish(self, request: pb.NodeUnpublishVolumeRequest) -> None:
        await self._ask(lambda stub: stub.NodeUnpublishVolume(request, timeout=CALL_SECONDS))

    async def expand(self, request: pb.NodeExpandVolumeRequest) -> None:
        await self._ask(lambda stub: stub.NodeExpandVolume(request, timeout=CALL_SECONDS))

    async def _ask(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        return await ask_at(self._socket, lambda channel: call(node_pb2_grpc.NodeStub(channel)))

"""The controller's part of one driver: what can be asked of it, and what its errors mean. Specified by proto/knarr/api/csi/v1.

Every call may be repeated, and every call is: the name of a volume, its handle and its node say which one is meant.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import grpc

from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.client.csi import code_name, words_of
from knarr.client.reconciler import Expected

RPC = pb.ControllerServiceCapability.RPC
# The call may go on at the driver, or may have been done: its outcome is known only when it is asked again.
UNCERTAIN = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED})
# What the driver cannot do, however often it is asked.
INFEASIBLE = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.NOT_FOUND})


class DriverError(Expected):
    """A driver did not do what it was asked, or could not be asked. As text it is what Kubernetes' sidecars say of the same."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(words_of(code, details))
        self.code, self.name, self.details = code, code_name(code), details

    @property
    def is_uncertain(self) -> bool:
        """Whether the work may be done all the same, now or later."""
        return self.code in UNCERTAIN

    @property
    def is_undecided(self) -> bool:
        """The same of a change of a volume that is there: a driver without room may be at work still, as Kubernetes' resizer counts it."""
        return self.is_uncertain or self.code is grpc.StatusCode.RESOURCE_EXHAUSTED

    @property
    def is_infeasible(self) -> bool:
        return self.code in INFEASIBLE


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a driver can do. ``calls`` are of ``ControllerServiceCapability.RPC.Type``; ``topology``: not each volume is reachable from each
    node; ``grows_on_nodes``: its node's part makes a file system larger."""

    calls: frozenset[int] = frozenset()
    topology: bool = False
    grows_on_nodes: bool = False

    def can(self, call: int) -> bool:
        return call in self.calls


class Driver(abc.ABC):
    """Every call raises DriverError."""

    @abc.abstractmethod
    async def abilities(self) -> Abilities:
        """What it can; asked once for as long as it answers."""

    @abc.abstractmethod
    async def create(self, request: pb.CreateVolumeRequest) -> pb.CreateVolumeResponse: ...

    @abc.abstractmethod
    async def delete(self, request: pb.DeleteVolumeRequest) -> None: ...

    @abc.abstractmethod
    async def publish(self, request: pb.ControllerPublishVolumeRequest) -> pb.ControllerPublishVolumeResponse: ...

    @abc.abstractmethod
    async def unpublish(self, request: pb.ControllerUnpublishVolumeRequest) -> None: ...

    @abc.abstractmethod
    async def expand(self, request: pb.ControllerExpandVolumeRequest) -> pb.ControllerExpandVolumeResponse: ...

    @abc.abstractmethod
    async def modify(self, request: pb.ControllerModifyVolumeRequest) -> None: ...

    @abc.abstractmethod
    async def capacity(self, request: pb.GetCapacityRequest) -> pb.GetCapacityResponse: ...

    async def close(self) -> None:
        """Ends what it holds; nothing is asked afterwards."""
        return None

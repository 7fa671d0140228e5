"""The part of a driver that makes volumes and brings them to nodes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any

import grpc

from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.csi.v1 import controller_pb2_grpc
from knarr.api.csi.v1 import volume_pb2 as csi
from tests.support.csi.storage import DEFAULT_BYTES, Disk, Refused, Storage

Mode = csi.VolumeCapability.AccessMode
RPC = pb.ControllerServiceCapability.RPC
# Modes in which a volume may be at several nodes.
SHARED = (Mode.MULTI_NODE_READER_ONLY, Mode.MULTI_NODE_SINGLE_WRITER, Mode.MULTI_NODE_MULTI_WRITER)
ALL = tuple(
    RPC.Type.Value(name)
    for name in (
        "CREATE_DELETE_VOLUME",
        "PUBLISH_UNPUBLISH_VOLUME",
        "LIST_VOLUMES",
        "GET_CAPACITY",
        "CLONE_VOLUME",
        "PUBLISH_READONLY",
        "EXPAND_VOLUME",
        "LIST_VOLUMES_PUBLISHED_NODES",
        "GET_VOLUME",
        "SINGLE_NODE_MULTI_WRITER",
        "MODIFY_VOLUME",
    )
)


class ControllerServer(controller_pb2_grpc.ControllerServicer):
    """``mutable``: the parameters that may be changed later. What must not be asked is in ``violations``, and refused."""

    def __init__(self, storage: Storage, can: Iterable[int], violations: list[str], *, node_expansion: bool, limit: int) -> None:
        self._storage, self._can, self._violations = storage, tuple(can), violations
        self._node_expansion, self._limit = node_expansion, limit
        self.mutable: set[str] = {"iops"}

    async def ControllerGetCapabilities(self, request: Any, context: Any) -> Any:
        return pb.ControllerGetCapabilitiesResponse(capabilities=[{"rpc": {"type": kind}} for kind in self._can])

    async def CreateVolume(self, request: Any, context: Any) -> Any:
        if not request.name or not request.volume_capabilities:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "name and volume_capabilities are required")
        size = _size(request.capacity_range, self._storage.largest_bytes)
        disk = self._storage.named(request.name)
        if disk is not None:
            self._same(disk, request)
            return pb.CreateVolumeResponse(volume=disk.message)
        if size > self._storage.free_bytes:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._storage.free_bytes} bytes are left")
        self._check_mutable(request.mutable_parameters)
        source = self._source(request)
        disk = self._storage.make(request.name, size)
        disk.capabilities = list(request.volume_capabilities)
        disk.parameters, disk.mutable = dict(request.parameters), dict(request.mutable_parameters)
        disk.context = {"made-by": "csi-driver"}
        wanted = request.accessibility_requirements
        disk.topology = list(wanted.preferred or wanted.requisite)[:1]
        if source is not None:
            disk.source = csi.VolumeContentSource()
            disk.source.CopyFrom(request.volume_content_source)
            shutil.copytree(source.path, disk.path, dirs_exist_ok=True)
        return pb.CreateVolumeResponse(volume=disk.message)

    def _same(self, disk: Disk, request: Any) -> None:
        least, most = request.capacity_range.required_bytes, request.capacity_range.limit_bytes
        fits = disk.size_bytes >= least and (not most or disk.size_bytes <= most)
        if not fits or disk.parameters != dict(request.parameters):
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"volume {request.name} is there and is another")

    def _source(self, request: Any) -> Disk | None:
        if not request.HasField("volume_content_source"):
            return None
        if not request.volume_content_source.HasField("volume"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "there are no snapshots here")
        return self._storage.find(request.volume_content_source.volume.volume_id)

    async def DeleteVolume(self, request: Any, context: Any) -> Any:
        if not request.volume_id:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "volume_id is missing")
        disk = self._storage.disks.get(request.volume_id)
        if disk is not None:
            if disk.attached or disk.staged or disk.published:
                self._violate(f"DeleteVolume of {disk.id}, which is in use")
            self._storage.remove(disk)
        return pb.DeleteVolumeResponse()

    async def ControllerPublishVolume(self, request: Any, context: Any) -> Any:
        disk = self._storage.find(request.volume_id)
        if request.node_id not in self._storage.nodes:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"there is no node {request.node_id!r}")
        if not request.HasField("volume_capability"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "volume_capability is missing")
        arguments = (request.volume_capability.SerializeToString(deterministic=True), request.readonly)
        told = pb.ControllerPublishVolumeResponse(publish_context={"device": f"{disk.id}@{request.node_id}"})
        if request.node_id in disk.attached:
            if disk.attached[request.node_id] != arguments:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"{disk.id} is at {request.node_id} otherwise")
            return told
        if disk.attached and request.volume_capability.access_mode.mode not in SHARED:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"{disk.id} is at {', '.join(disk.attached)}")
        there = sum(request.node_id in other.attached for other in self._storage.disks.values())
        if self._limit and there >= self._limit:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{request.node_id} has {there} volumes")
        disk.attached[request.node_id] = arguments
        return told

    async def ControllerUnpublishVolume(self, request: Any, context: Any) -> Any:
        disk = self._storage.disks.get(request.volume_id)
        if disk is None:
            return pb.ControllerUnpublishVolumeResponse()
        for node in [request.node_id] if request.node_id else list(disk.attached):
            if disk.staged_on(node) or disk.published_on(node):
                self._violate(f"ControllerUnpublishVolume of {disk.id}, which is mounted at {node}")
            disk.attached.pop(node, None)
        return pb.ControllerUnpublishVolumeResponse()

    async def ValidateVolumeCapabilities(self, request: Any, context: Any) -> Any:
        self._storage.find(request.volume_id)
        confirmed = {"volume_context": request.volume_context, "volume_capabilities": request.volume_capabilities}
        return pb.ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    async def ListVolumes(self, request: Any, context: Any) -> Any:
        begin = int(request.starting_token or 0)
        disks = list(self._storage.disks.values())
        end = begin + request.max_entries if request.max_entries else len(disks)
        entries = [{"volume": disk.message, "status": {"published_node_ids": list(disk.attached)}} for disk in disks[begin:end]]
        return pb.ListVolumesResponse(entries=entries, next_token=str(end) if end < len(disks) else "")

    async def GetCapacity(self, request: Any, context: Any) -> Any:
        return pb.GetCapacityResponse(
            available_capacity=self._storage.free_bytes, maximum_volume_size={"value": self._storage.largest_bytes}
        )

    async def ControllerExpandVolume(self, request: Any, context: Any) -> Any:
        disk = self._storage.find(request.volume_id)
        size = _size(request.capacity_range, self._storage.largest_bytes)
        if size > disk.size_bytes:
            if size - disk.size_bytes > self._storage.free_bytes:
                raise Refused(grpc.StatusCode.OUT_OF_RANGE, f"{self._storage.free_bytes} bytes are left")
            disk.size_bytes = size
        return pb.ControllerExpandVolumeResponse(capacity_bytes=disk.size_bytes, node_expansion_required=self._node_expansion)

    async def ControllerGetVolume(self, request: Any, context: Any) -> Any:
        disk = self._storage.find(request.volume_id)
        return pb.ControllerGetVolumeResponse(volume=disk.message, status={"published_node_ids": list(disk.attached)})

    async def ControllerModifyVolume(self, request: Any, context: Any) -> Any:
        disk = self._storage.find(request.volume_id)
        self._check_mutable(request.mutable_parameters)
        disk.mutable.update(request.mutable_parameters)
        return pb.ControllerModifyVolumeResponse()

    def _check_mutable(self, parameters: Any) -> None:
        if unknown := set(parameters) - self.mutable:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"no parameter {', '.join(sorted(unknown))} can be changed")

    def _violate(self, words: str) -> None:
        self._violations.append(words)
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, words)


def _size(wanted: csi.CapacityRange, largest: int) -> int:
    size = wanted.required_bytes or min(wanted.limit_bytes or DEFAULT_BYTES, DEFAULT_BYTES)
    if size > largest or (wanted.limit_bytes and size > wanted.limit_bytes):
        raise Refused(grpc.StatusCode.OUT_OF_RANGE, f"{size} bytes are more than the {largest} that a volume may have")
    return int(size)

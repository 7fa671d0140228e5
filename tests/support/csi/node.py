"""The part of a driver that mounts volumes on one node."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc

from knarr.api.csi.v1 import node_pb2 as pb
from knarr.api.csi.v1 import node_pb2_grpc
from knarr.api.csi.v1 import volume_pb2 as csi
from tests.support.csi.controller import SHARED
from tests.support.csi.storage import Disk, Refused, Storage, bind, unbind

RPC = pb.NodeServiceCapability.RPC
Mode = csi.VolumeCapability.AccessMode
ALL = (RPC.STAGE_UNSTAGE_VOLUME, RPC.GET_VOLUME_STATS, RPC.EXPAND_VOLUME, RPC.SINGLE_NODE_MULTI_WRITER)


class NodeServer(node_pb2_grpc.NodeServicer):
    """``attaching``: volumes are mounted only where the other part has brought them. ``seen_at``: where the driver sees the folders that
    callers name, as two paths: how they begin for callers, and for itself. ``devices`` are shown as block volumes, by volume id."""

    def __init__(self, storage: Storage, node_id: str, can: Iterable[int], violations: list[str], *, attaching: bool, limit: int) -> None:
        self._storage, self.node_id, self._can, self._violations = storage, node_id, tuple(can), violations
        self._attaching, self._limit = attaching, limit
        self.seen_at: tuple[str, str] = ("", "")
        self.devices: dict[str, Path] = {}

    async def NodeGetInfo(self, request: Any, context: Any) -> Any:
        told = pb.NodeGetInfoResponse(node_id=self.node_id, max_volumes_per_node=self._limit)
        told.accessible_topology.segments.update(self._storage.nodes.get(self.node_id, {}))
        return told

    async def NodeGetCapabilities(self, request: Any, context: Any) -> Any:
        return pb.NodeGetCapabilitiesResponse(capabilities=[{"rpc": {"type": kind}} for kind in self._can])

    async def NodeStageVolume(self, request: Any, context: Any) -> Any:
        disk = self._reached(request)
        here = self._path(request.staging_target_path)
        arguments = request.volume_capability.SerializeToString(deterministic=True)
        key = (self.node_id, request.staging_target_path)
        if key in disk.staged:
            if disk.staged[key] != arguments:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"{disk.id} is staged otherwise")
            return pb.NodeStageVolumeResponse()
        if not here.is_dir():
            self._violate(f"NodeStageVolume at {here}, which is no folder")
        if not request.volume_capability.HasField("block"):
            bind(disk.path, here)
        disk.staged[key] = arguments
        return pb.NodeStageVolumeResponse()

    async def NodeUnstageVolume(self, request: Any, context: Any) -> Any:
        disk = self._storage.find(request.volume_id)
        if disk.published_on(self.node_id):
            self._violate(f"NodeUnstageVolume of {disk.id}, which is published")
        unbind(self._path(request.staging_target_path))
        disk.staged.pop((self.node_id, request.staging_target_path), None)
        return pb.NodeUnstageVolumeResponse()

    async def NodePublishVolume(self, request: Any, context: Any) -> Any:
        disk = self._inline(request) if request.volume_id not in self._storage.disks else self._reached(request)
        source = disk.path
        if RPC.STAGE_UNSTAGE_VOLUME in self._can and not _is_inline(request):
            if (self.node_id, request.staging_target_path) not in disk.staged:
                self._violate(f"NodePublishVolume of {disk.id}, which is not staged")
            source = self._path(request.staging_target_path)
        key, arguments = (self.node_id, request.target_path), _arguments(request)
        if key in disk.published:
            if disk.published[key] != arguments:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"{disk.id} is published otherwise")
            return pb.NodePublishVolumeResponse()
        if disk.published_on(self.node_id) and request.volume_capability.access_mode.mode not in (*SHARED, Mode.SINGLE_NODE_MULTI_WRITER):
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"{disk.id} is published elsewhere on this node")
        target = self._path(request.target_path)
        if not target.parent.is_dir():
            self._violate(f"NodePublishVolume at {target}, whose folder is not there")
        if request.volume_capability.HasField("block"):
            target.touch()
            bind(self.devices[disk.id], target)
        else:
            target.mkdir(exist_ok=True)
            bind(source, target, read_only=request.readonly)
        disk.published[key] = arguments
        return pb.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(self, request: Any, context: Any) -> Any:
        disk = self._storage.find(request.volume_id)
        target = self._path(request.target_path)
        unbind(target)
        if target.is_dir():
            target.rmdir()
        else:
            target.unlink(missing_ok=True)
        disk.published.pop((self.node_id, request.target_path), None)
        if disk.id.startswith("csi-") and not disk.published:
            self._storage.remove(disk)
        return pb.NodeUnpublishVolumeResponse()

    async def NodeGetVolumeStats(self, request: Any, context: Any) -> Any:
        disk = self._storage.find(request.volume_id)
        if request.volume_path not in (*disk.staged_on(self.node_id), *disk.published_on(self.node_id)):
            raise Refused(grpc.StatusCode.NOT_FOUND, f"{disk.id} is not at {request.volume_path}")
        used = sum(path.stat().st_size for path in disk.path.rglob("*") if path.is_file())
        usage = pb.VolumeUsage(available=disk.size_bytes - used, total=disk.size_bytes, used=used, unit=pb.VolumeUsage.BYTES)
        return pb.NodeGetVolumeStatsResponse(usage=[usage])

    async def NodeExpandVolume(self, request: Any, context: Any) -> Any:
        disk = self._storage.find(request.volume_id)
        if request.volume_path not in (*disk.staged_on(self.node_id), *disk.published_on(self.node_id)):
            raise Refused(grpc.StatusCode.NOT_FOUND, f"{disk.id} is not at {request.volume_path}")
        if request.capacity_range.required_bytes > disk.size_bytes:
            raise Refused(grpc.StatusCode.OUT_OF_RANGE, f"{disk.id} has {disk.size_bytes} bytes")
        disk.grown[self.node_id] = disk.size_bytes
        return pb.NodeExpandVolumeResponse(capacity_bytes=disk.size_bytes)

    def _reached(self, request: Any) -> Disk:
        disk = self._storage.find(request.volume_id)
        if not request.HasField("volume_capability"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "volume_capability is missing")
        if self._attaching:
            if self.node_id not in disk.attached:
                self._violate(f"{disk.id} is to be mounted at {self.node_id}, where it is not attached")
            if request.publish_context.get("device") != f"{disk.id}@{self.node_id}":
                self._violate(f"{disk.id} is to be mounted with the publish_context {dict(request.publish_context)}")
        return disk

    def _inline(self, request: Any) -> Disk:
        """A volume that is made for one pod, when it is published."""
        if not _is_inline(request):
            self._storage.find(request.volume_id)
        disk = Disk(request.volume_id, request.volume_id, self._storage.root / request.volume_id, context=dict(request.volume_context))
        disk.path.mkdir(parents=True)
        self._storage.disks[disk.id] = disk
        return disk

    def _path(self, path: str) -> Path:
        if not path.startswith("/"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{path!r} is no path")
        before, behind = self.seen_at
        return Path(behind + path.removeprefix(before)) if before and path.startswith(before) else Path(path)

    def _violate(self, words: str) -> None:
        self._violations.append(words)
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, words)


def _is_inline(request: Any) -> bool:
    return bool(request.volume_context.get("csi.storage.k8s.io/ephemeral") == "true" or request.volume_id.startswith("csi-"))


def _arguments(request: Any) -> bytes:
    """All that must be the same when it is published again: not its secrets, nor tokens, which are renewed."""
    kept = pb.NodePublishVolumeRequest()
    kept.CopyFrom(request)
    kept.ClearField("secrets")
    kept.volume_context.pop("csi.storage.k8s.io/serviceAccount.tokens", None)
    return kept.SerializeToString(deterministic=True)

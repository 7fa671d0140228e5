"""What a driver of volumes keeps: volumes as folders, who has them attached, staged and published. It outlives the drivers that serve it.

A node's part of a driver mounts with the machine's own `mount`, as drivers do: staging binds a volume's folder, publishing what is staged.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from knarr.api.csi.v1 import volume_pb2 as csi
from services.kubelet.node.mounts import mounts_below

DEFAULT_BYTES = 1 << 30


class Refused(Exception):
    """How a call ends, by the contract."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Disk:
    """A volume. Nodes by the ids that the driver knows them by; arguments as they were sent, without secrets."""

    id: str
    name: str
    path: Path
    size_bytes: int = DEFAULT_BYTES
    capabilities: list[csi.VolumeCapability] = field(default_factory=list)
    context: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    mutable: dict[str, str] = field(default_factory=dict)
    topology: list[csi.Topology] = field(default_factory=list)
    source: csi.VolumeContentSource | None = None
    # By node id: capability and whether read-only; by node id and path: the capability, and all arguments.
    attached: dict[str, tuple[bytes, bool]] = field(default_factory=dict)
    staged: dict[tuple[str, str], bytes] = field(default_factory=dict)
    published: dict[tuple[str, str], bytes] = field(default_factory=dict)
    # What the file system has grown to, by node id, bytes.
    grown: dict[str, int] = field(default_factory=dict)

    @property
    def message(self) -> csi.Volume:
        """As the driver tells of it."""
        told = csi.Volume(volume_id=self.id, capacity_bytes=self.size_bytes, volume_context=self.context, accessible_topology=self.topology)
        if self.source is not None:
            told.content_source.CopyFrom(self.source)
        return told

    def staged_on(self, node: str) -> list[str]:
        return [path for where, path in self.staged if where == node]

    def published_on(self, node: str) -> list[str]:
        return [path for where, path in self.published if where == node]


class Storage:
    """All volumes below one folder. ``total_bytes``: as much as can be given out; ``largest_bytes``: of one volume."""

    def __init__(self, root: Path, total_bytes: int = 1 << 40, largest_bytes: int = 1 << 40) -> None:
        self.root, self.total_bytes, self.largest_bytes = root, total_bytes, largest_bytes
        self.disks: dict[str, Disk] = {}
        # Topology by node id.
        self.nodes: dict[str, dict[str, str]] = {}

    @property
    def free_bytes(self) -> int:
        return self.total_bytes - sum(disk.size_bytes for disk in self.disks.values())

    def make(self, name: str, size_bytes: int = DEFAULT_BYTES) -> Disk:
        """A volume, also one that was there before the cluster."""
        disk = Disk(f"vol-{name}", name, self.root / f"vol-{name}", size_bytes)
        disk.path.mkdir(parents=True, exist_ok=True)
        self.disks[disk.id] = disk
        return disk

    def named(self, name: str) -> Disk | None:
        return next((disk for disk in self.disks.values() if disk.name == name), None)

    def find(self, volume_id: str) -> Disk:
        """Raises Refused."""
        if not volume_id:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "volume_id is missing")
        if volume_id not in self.disks:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"there is no volume {volume_id}")
        return self.disks[volume_id]

    def remove(self, disk: Disk) -> None:
        del self.disks[disk.id]
        shutil.rmtree(disk.path)


def bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    _run("mount", "-o", "bind,ro" if read_only else "bind", str(source), str(target))


def unbind(target: Path) -> None:
    """Ends what is mounted there, if anything is."""
    while str(target) in mounts_below(target):
        _run("umount", str(target))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(grpc.StatusCode.INTERNAL, done.stderr.strip())

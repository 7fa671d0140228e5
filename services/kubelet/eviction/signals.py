"""How much is left of what a node may run short of. A thin reader of /proc, the file systems and the pods' control group."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from services.kubelet.eviction.usage import Observation
from services.kubelet.node.files import NodeFiles
from services.kubelet.node.machine import existing
from services.kubelet.proc import PROC, max_processes, meminfo, processes
from services.kubelet.thresholds import ALLOCATABLE_MEMORY, IMAGEFS, IMAGEFS_INODES, MEMORY, NODEFS, NODEFS_INODES, PIDS

log = logging.getLogger(__name__)


class SignalReader(Protocol):
    """Where a node's signals come from."""

    async def read(self) -> dict[str, Observation]:
        """By signal; one that cannot be read is not there."""

    @property
    def apart(self) -> bool:
        """Whether images and containers lie on another disk than the pods' volumes, as it was when they were last read."""


class GivenSignals:
    """Of a node that has no machine of its own: nothing, but for what somebody says that it has."""

    def __init__(self) -> None:
        self.given: dict[str, Observation] = {}
        self.apart = False

    def give(self, signal: str, available: int, capacity: int) -> None:
        """From now on so much is available."""
        self.given[signal] = Observation(available, capacity)

    async def read(self) -> dict[str, Observation]:
        return dict(self.given)


class MachineSignals:
    """Of this machine. ``images`` answers where the engine keeps images and containers, None where that is not known or not here;
    ``pods_memory`` answers how much memory all pods together use and may use, None where that is not known."""

    def __init__(
        self,
        data_dir: Path,
        files: NodeFiles,
        images: Callable[[], Path | None],
        pods_memory: Callable[[], Awaitable[tuple[int, int] | None]],
    ) -> None:
        self._data_dir, self._files, self._images, self._pods_memory = data_dir, files, images, pods_memory
        self.apart = False

    async def read(self) -> dict[str, Observation]:
        found = dict(machine_signals())
        images = self._images()
        try:
            disks, self.apart = await self._files.call(disk_signals, self._data_dir, images)
        except OSError as error:
            log.warning("the node's disk cannot be looked at", extra={"error": str(error)})
            disks = {}
        if (used := await self._pods_memory()) is not None:
            found[ALLOCATABLE_MEMORY] = Observation(used[1] - used[0], used[1])
        return found | disks


def machine_signals(proc: Path = PROC) -> Mapping[str, Observation]:
    """Memory that the kernel says may be had without swapping, and processes that may be begun. Raises OSError."""
    memory = meminfo(proc)
    most = max_processes(proc)
    found = {PIDS: Observation(most - processes(proc), most)}
    # A kernel that does not estimate it (some sandboxes) says nothing.
    return found | ({MEMORY: Observation(memory["MemAvailable"], memory["MemTotal"])} if "MemAvailable" in memory else {})


def disk_signals(data_dir: Path, images: Path | None) -> tuple[dict[str, Observation], bool]:
    """Of the node's disk and of that with the images, and whether they are two. A file system that does not count files is never short
    of them. Raises OSError."""
    folder = existing(data_dir)
    found = _of(os.statvfs(folder), NODEFS, NODEFS_INODES)
    if images is None or not images.exists():
        return found, False
    found |= _of(os.statvfs(images), IMAGEFS, IMAGEFS_INODES)
    return found, images.stat().st_dev != folder.stat().st_dev


def _of(disk: os.statvfs_result, space: str, inodes: str) -> dict[str, Observation]:
    """What is kept for root is not available, as Kubernetes counts."""
    found = {space: Observation(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)}
    return found | ({inodes: Observation(disk.f_ffree, disk.f_files)} if disk.f_files else {})

"""How much of the disk an emptyDir holds."""

from __future__ import annotations

import os
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity

BLOCK_BYTES = 512


def disk_limits(pod: core.Pod) -> dict[str, str]:
    """The sizeLimit of each emptyDir on the disk that has one, by the volume's name; those in memory are limited by the kernel."""
    sources = {volume.name: volume.volume_source.empty_dir for volume in pod.spec.volumes if volume.volume_source.HasField("empty_dir")}
    return {
        name: source.size_limit.string
        for name, source in sources.items()
        if source.medium != "Memory" and source.size_limit.string and quantity.value(source.size_limit.string) > 0
    }


def exceeds(root: Path, limit_bytes: int) -> bool:
    """Whether what lies below ``root`` takes more of its disk than that. Looks no further than it must, and at no other file system."""
    used, linked = 0, set[int]()
    try:
        device = root.stat().st_dev
    except OSError:
        return False
    # By handles: a container may exchange a directory for a link at any moment.
    for _, folders, files, handle in os.fwalk(root, follow_symlinks=False):
        for name in (*folders, *files):
            try:
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            except OSError:
                continue
            if found.st_dev != device:
                if name in folders:
                    folders.remove(name)
                continue
            if found.st_nlink > 1 and name in files:
                if found.st_ino in linked:
                    continue
                linked.add(found.st_ino)
            used += found.st_blocks * BLOCK_BYTES
            if used > limit_bytes:
                return True
    return False

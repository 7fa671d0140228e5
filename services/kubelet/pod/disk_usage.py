"""How much of a disk lies below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
        if source.medium == "" and source.size_limit.string and quantity.value(source.size_limit.string) > 0
    }


def exceeds(root: Path, limit_bytes: int) -> bool:
    """Whether what lies below ``root`` takes more of its disk than that. Looks no further than it must, and at no other file system."""
    used = 0
    for found in _below(root):
        used += found.st_blocks * BLOCK_BYTES
        if used > limit_bytes:
            return True
    return False


def used(root: Path) -> tuple[int, int]:
    """How many bytes of its disk all below ``root`` takes, and how many files of any kind it is; nothing where it is not there."""
    size = count = 0
    for found in _below(root):
        size += found.st_blocks * BLOCK_BYTES
        count += 1
    return size, count


def _below(root: Path) -> Iterator[os.stat_result]:
    """All files and folders below, on the same file system, each once however many names it has."""
    linked = set[int]()
    try:
        device = root.stat().st_dev
    except OSError:
        return
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
            yield found

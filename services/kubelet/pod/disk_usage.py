"""How much of a disk lies below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from services.kubelet.node.trees import FOLDER, walk

BLOCK_BYTES = 512
# Of more files with several names each name is counted: what is remembered of them must not fill the memory.
MOST_LINKED = 1_000_000


def takes_disk(volume: core.Volume) -> bool:
    """Whether it takes room of the node's disk that is free again once the pod is gone: an emptyDir that is not in memory."""
    return volume.volume_source.HasField("empty_dir") and not volume.volume_source.empty_dir.medium


def disk_limits(pod: core.Pod) -> dict[str, str]:
    """The sizeLimit of each emptyDir on the disk that has one, by the volume's name; those in memory are limited by the kernel."""
    limits = {volume.name: volume.volume_source.empty_dir.size_limit.string for volume in pod.spec.volumes if takes_disk(volume)}
    return {name: limit for name, limit in limits.items() if limit and quantity.value(limit) > 0}


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
    try:
        handle = os.open(root, FOLDER)
    except OSError:
        return
    linked = set[int]()
    try:
        for _, _, found in walk(handle, same_device=True):
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if found.st_ino in linked:
                    continue
                if len(linked) < MOST_LINKED:
                    linked.add(found.st_ino)
            yield found
    finally:
        os.close(handle)

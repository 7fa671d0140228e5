"""The group of a pod's own volumes: everything in them belongs to ``fsGroup``, which may read and write it."""

from __future__ import annotations

import os
import stat
from enum import Enum
from pathlib import Path

from services.kubelet.node.trees import walk

FILE_BITS, FOLDER_BITS = 0o660, 0o770 | stat.S_ISGID
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Giving(Enum):
    """ON_MISMATCH: where the root is the group's already, nothing below it is looked at. NEVER: its containers run already."""

    ALWAYS = "Always"
    ON_MISMATCH = "OnRootMismatch"
    NEVER = "never"


def give_to_group(root: Path, group: int, giving: Giving = Giving.ALWAYS) -> None:
    """Gives what lies at and below ``root`` to a group.

    By handles, and no link is followed: a container may exchange names meanwhile. Raises OSError for the root alone.
    """
    if giving is Giving.NEVER:
        return
    handle = os.open(root, OPEN | os.O_DIRECTORY)
    try:
        found = os.fstat(handle)
        if giving is Giving.ON_MISMATCH and found.st_gid == group and found.st_mode & FOLDER_BITS == FOLDER_BITS:
            return
        # The root last: one that is cut short begins anew.
        for directory, name, _ in walk(handle):
            _give(directory, name, group)
        _change(handle, os.fstat(handle), group)
    finally:
        os.close(handle)


def _give(directory: int, name: str, group: int) -> None:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            os.chown(name, -1, group, dir_fd=directory, follow_symlinks=False)
            return
        handle = os.open(name, OPEN, dir_fd=directory)
    except OSError:
        # Gone, or something else by now.
        return
    try:
        _change(handle, os.fstat(handle), group)
    finally:
        os.close(handle)


def _change(handle: int, found: os.stat_result, group: int) -> None:
    bits = FOLDER_BITS if stat.S_ISDIR(found.st_mode) else FILE_BITS
    mode = stat.S_IMODE(found.st_mode)
    if found.st_gid != group:
        os.fchown(handle, -1, group)
    # A change of the group takes the setgid bit away.
    if mode & bits != bits or found.st_gid != group:
        os.fchmod(handle, mode | bits)

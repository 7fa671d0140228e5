"""mount(2) and umount2(2), which the standard library does not have, and what is mounted."""

from __future__ import annotations

import codecs
import ctypes
import os
from pathlib import Path

MNT_DETACH = 2
MS_NOSUID_NODEV = 2 | 4
# Looked up now: a thread with other mounts could not import it.
codecs.lookup("unicode_escape")
_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(path: Path, size_bytes: int) -> None:
    """Mounts a tmpfs, world-writable like an emptyDir; raises OSError."""
    options = "mode=0777" + (f",size={size_bytes}" if size_bytes else "")
    if _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", MS_NOSUID_NODEV, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def unmount(path: str) -> None:
    """Detaches a mount; raises OSError."""
    if _libc.umount2(os.fsencode(path), MNT_DETACH) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def mounts_below(root: Path) -> set[str]:
    """The mount points at ``root`` and below it."""
    prefix = str(root)
    lines = Path("/proc/thread-self/mounts").read_text().splitlines()
    points = {line.split(" ")[1].encode().decode("unicode_escape") for line in lines}
    return {point for point in points if point == prefix or point.startswith(prefix + "/")}

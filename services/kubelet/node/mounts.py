"""mount(2) and umount2(2), which the standard library does not have, and what is mounted."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 0x20
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 0x1000, 0x4000, 0x40000, 0x100000
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
# mount_setattr(2), Linux 5.12; the number is the same on all architectures.
SYS_MOUNT_SETATTR = 442
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
# By the names that `mount` has for them; mount(2), statvfs(3) and mount_setattr(2) number them alike.
ATTRIBUTES = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8}
# The kernel numbers the mounts that it starts with 0xEFFFFFF8, before 6.18 0xF0000000 or the next one; all others lie above.
LAST_FIRST_MOUNTS = 0xF0000001
# Bytes of what mount(2) is told of a file system: a page, its end included.
MOST_OPTIONS = 4096
# More than one mount may lie on a point.
ROUNDS = 8
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(path: Path, mode: int, size_bytes: int = 0, flags: int = MS_NOSUID | MS_NODEV) -> None:
    """Mounts a tmpfs whose root has ``mode``; raises OSError. ``size_bytes`` 0: as much as the kernel's default, half of the memory."""
    options = f"mode={mode:04o}" + (f",size={size_bytes}" if size_bytes else "")
    _check(_libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", flags, options.encode()), str(path))


def are_private() -> bool:
    """Whether nobody else sees what this thread mounts: it has mounts of its own, other than those of the machine's first process.

    So it is for what is started by `ip netns exec`, or by a unit with PrivateTmp. An engine that runs beside it shows its containers
    nothing of such a mount.
    """
    own = Path("/proc/thread-self/ns/mnt")
    try:
        return not own.samefile("/proc/1/ns/mnt")
    except PermissionError:
        return own.stat().st_ino > LAST_FIRST_MOUNTS
    except OSError:
        return False


def bind(handle: int, target: Path, *, recursive: bool = False) -> None:
    """Mounts the very file or directory that ``handle`` is open on at ``target``, whatever its name leads to now; raises OSError.
    ``recursive``: with what is mounted below it."""
    source = f"/proc/thread-self/fd/{handle}"
    flags = MS_BIND | (MS_REC if recursive else 0)
    _check(_libc.mount(source.encode(), os.fsencode(target), None, flags, None), str(target))


def mount_read_only(kind: str, source: str, options: Iterable[str], target: Path) -> None:
    """Mounts a file system as mount(8) is told of it, so that nobody writes, and without devices and what gives other users' rights.
    Raises OSError."""
    if kind == "bind":
        handle = os.open(source, os.O_PATH | os.O_CLOEXEC)
        try:
            bind(handle, target, recursive="rbind" in options)
        finally:
            os.close(handle)
        set_attributes(target, ("ro", "nosuid", "nodev"))
        return
    with _short(",".join(option for option in options if option not in ATTRIBUTES)) as data:
        flags = MS_RDONLY | MS_NOSUID | MS_NODEV
        _check(_libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, os.fsencode(data)), str(target))


@contextmanager
def _short(options: str) -> Iterator[str]:
    """What the kernel takes of options is a page: an overlay of many folders has each by a handle instead of its path."""
    head, word, folders = options.partition("lowerdir=")
    if len(options) < MOST_OPTIONS or not word:
        yield options
        return
    folders, comma, tail = folders.partition(",")
    with ExitStack() as opened:
        handles = []
        for folder in folders.split(":"):
            handles.append(os.open(folder, os.O_PATH | os.O_CLOEXEC))
            opened.callback(os.close, handles[-1])
        yield f"{head}{word}{':'.join(f'/proc/self/fd/{handle}' for handle in handles)}{comma}{tail}"


class _Attributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (("set", ctypes.c_uint64), ("clear", ctypes.c_uint64), ("propagation", ctypes.c_uint64), ("users", ctypes.c_uint64))


def set_attributes(target: Path, names: Iterable[str], *, recursive: bool = False) -> None:
    """Adds attributes of ``ATTRIBUTES`` to the mount at ``target``; ``recursive``: and to all below it. Raises OSError, ENOSYS where that
    is more than a kernel before 5.12 can."""
    if not recursive and not can_set_attributes():
        flags = sum(ATTRIBUTES[name] for name in set(names)) | (os.statvfs(target).f_flag & sum(ATTRIBUTES.values()))
        _check(_libc.mount(None, os.fsencode(target), None, MS_REMOUNT | MS_BIND | flags, None), str(target))
        return
    wanted = _Attributes(set=sum(ATTRIBUTES[name] for name in set(names)))
    flags = AT_RECURSIVE if recursive else 0
    _check(_libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), flags, ctypes.byref(wanted), ctypes.sizeof(wanted)), str(target))


@functools.cache
def can_set_attributes() -> bool:
    """Whether the kernel knows the call: asked with nothing to set, it says what is wrong with that."""
    _libc.syscall(SYS_MOUNT_SETATTR, -1, b"", AT_EMPTY_PATH, None, 0)
    return ctypes.get_errno() != errno.ENOSYS


def share(point: Path) -> None:
    """Lets those that have it mounted too see what is mounted below it; raises OSError."""
    _check(_libc.mount(None, os.fsencode(point), None, MS_SHARED, None), str(point))


def unmount_all(root: Path) -> None:
    """Unmounts everything at ``root`` and below it; raises OSError where something stays, so that nobody deletes what is mounted there.

    Each is made private before: the end of a bind mount must not end, at the place that was bound, what is mounted below that.
    """
    for _ in range(ROUNDS):
        points = sorted(mounts_below(root), key=len, reverse=True)
        if not points:
            return
        for point in points:
            _check(_libc.mount(None, os.fsencode(point), None, MS_PRIVATE, None), point)
        for point in points:
            _check(_libc.umount2(os.fsencode(point), MNT_DETACH | UMOUNT_NOFOLLOW), point)
    raise OSError(f"{root} is still mounted")


def mounts_below(root: Path) -> set[str]:
    """The mount points at ``root`` and below it, by the paths that the kernel tells: without links."""
    prefix = os.fsencode(os.path.realpath(root))
    lines = Path("/proc/thread-self/mounts").read_bytes().splitlines()
    points = {_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), line.split(b" ")[1]) for line in lines}
    return {os.fsdecode(point) for point in points if point == prefix or point.startswith(prefix.rstrip(b"/") + b"/")}


def _check(result: int, path: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)

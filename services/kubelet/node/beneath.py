"""Work below a directory whose contents belong to somebody else: by handle, and never led out of it.

A container may exchange any name in a volume for a link at any moment, so a path that was looked at is not the path that is
opened. Here the kernel resolves and opens in one step (openat2(2), Linux 5.6); before that each part is opened by itself,
and none may be a link.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.kubelet.node.trees import remove_tree_at

SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x02, 0x04, 0x08
# The kernel asks to try again when something was renamed while it looked.
TRIES = 128
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A handle of a directory of the kubelet's own; raises OSError, also where it is a link."""
    handle = os.open(path, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def opened_beneath(directory: int, path: str, flags: int = DIRECTORY, *, links: bool = False) -> Iterator[int]:
    """As ``open_beneath``, closed at the end of the block."""
    handle = open_beneath(directory, path, flags, links=links)
    try:
        yield handle
    finally:
        os.close(handle)


def open_beneath(directory: int, path: str, flags: int = DIRECTORY, *, links: bool = False) -> int:
    """Opens what lies at ``path`` below ``directory``, a handle. ``links``: those that stay below it are followed.

    Raises OSError: EXDEV where the path leads out, ELOOP where it has a link that is not followed.
    """
    if "\0" in path:
        # The kernel would see what stands before it.
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
    try:
        return _openat2(directory, path or ".", flags, resolve)
    except OSError as error:
        # EPERM: a sandbox around the kubelet that does not know the call.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    return _step_by_step(directory, _resolved(directory, path) if links else path, flags)


def _openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(TRIES):
        handle: int = _libc.syscall(SYS_OPENAT2, directory, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if handle >= 0:
            return handle
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def _resolved(directory: int, path: str) -> str:
    """Where the links of a path lead at this moment; what is opened afterwards may have none."""
    if path.startswith("/") or ".." in path.split("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    root = os.path.realpath(f"/proc/thread-self/fd/{directory}")
    found = os.path.realpath(f"{root}/{path}")
    if os.path.commonpath((root, found)) != root:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return os.path.relpath(found, root)


def _step_by_step(directory: int, path: str, flags: int) -> int:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    current = os.dup(directory)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = inner
        found = os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
    finally:
        os.close(current)
    if stat.S_ISLNK(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return found


def make_directories_beneath(directory: int, path: str, mode: int) -> None:
    """Makes what is missing of a path below ``directory``, with ``mode`` whatever the umask. Links that stay below are followed."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for depth in range(len(parts)):
        try:
            os.close(open_beneath(directory, "/".join(parts[: depth + 1]), os.O_PATH, links=True))
            continue
        except FileNotFoundError:
            parent = open_beneath(directory, "/".join(parts[:depth]), links=True)
        try:
            make_directory_at(parent, parts[depth], mode)
        finally:
            os.close(parent)


def make_directory_at(directory: int, name: str, mode: int) -> None:
    """Makes ``name`` in ``directory`` with exactly that mode; one that is there keeps its own. OSError where it is something else."""
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
    except FileExistsError:
        os.close(open_beneath(directory, name))
        return
    with opened_beneath(directory, name) as made:
        os.fchmod(made, mode)


def write_at(directory: int, name: str, data: bytes, mode: int, group: int | None = None, owner: int | None = None) -> None:
    """Writes a new file in ``directory`` with exactly that mode, and group and owner where they are given. Raises OSError where the name
    is taken. A kubelet that may give nothing away leaves a file that was meant for another user readable for all: for him it would be
    of no use."""
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        if group is not None:
            os.fchown(handle, -1, group)
        if owner is not None and owner != os.geteuid():
            try:
                os.fchown(handle, owner, -1)
            except PermissionError:
                mode |= 0o044
        os.fchmod(handle, mode)


def read_beneath(directory: int, path: str, *, links: bool = False) -> tuple[bytes, int]:
    """A regular file's content and mode. ``links``: those that stay below ``directory`` are followed. Raises OSError, also where it is no
    such file."""
    handle = open_beneath(directory, path, os.O_RDONLY | os.O_NONBLOCK, links=links)
    try:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        with os.fdopen(os.dup(handle), "rb") as file:
            return file.read(), stat.S_IMODE(found.st_mode)
    finally:
        os.close(handle)


def remove_at(directory: int, name: str) -> bool:
    """Removes whatever ``name`` is in ``directory``: a link itself, never what it leads to. Answers whether it was there. Raises OSError,
    also for a name that leads elsewhere."""
    if name in ("", ".", "..") or "/" in name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    except (IsADirectoryError, PermissionError):
        remove_tree_at(directory, name)
    return True

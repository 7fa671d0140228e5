"""Lays the root file system of an image, a tar archive, in a folder. Whatever the archive says, nothing is written elsewhere.

Each entry is made by handle below the folder, and no link in it is followed. Devices are left out: nobody may open them there.
"""

from __future__ import annotations

import os
import stat
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from services.kubelet.node.beneath import make_directory_at, open_beneath, opened, opened_beneath, remove_at

FOLDER_MODE = 0o755
CHUNK_BYTES = 1 << 20


def unpack(archive: BinaryIO, folder: Path) -> None:
    """Into an empty folder; not compressed. Raises OSError, also for an archive that is none, or has an entry that leads out."""
    try:
        with opened(folder) as root, tarfile.open(fileobj=archive, mode="r|") as found:
            late: list[tuple[str, tarfile.TarInfo]] = []
            while (entry := found.next()) is not None:
                path = os.path.normpath(entry.name.lstrip("/"))
                if path != ".":
                    _make(root, path, entry, found)
                if entry.isdir():
                    late.append((path, entry))
                # It would remember each of a million.
                found.members = []  # type: ignore[attr-defined]
            # What is made in a folder changes its time, and could not be made in one that is closed.
            for path, entry in reversed(late):
                with opened_beneath(root, path if path != "." else "") as handle:
                    _dress(handle, entry)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        # Also a name, an owner or a time that nothing on a disk can have.
        raise OSError(f"the engine's archive of the image cannot be read: {error}") from error


def _make(root: int, path: str, entry: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    above, _, name = path.rpartition("/")
    parent = _folder(root, above)
    try:
        if entry.isdir():
            make_directory_at(parent, name, FOLDER_MODE)
            return
        remove_at(parent, name)
        if entry.issym():
            os.symlink(entry.linkname, name, dir_fd=parent)
            _give(parent, name, entry)
        elif entry.islnk():
            target, _, own = os.path.normpath(entry.linkname.lstrip("/")).rpartition("/")
            with opened_beneath(root, target) as source:
                os.link(own, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        elif entry.isfile():
            _write(parent, name, entry, archive)
    finally:
        os.close(parent)


def _folder(root: int, path: str) -> int:
    """A handle of a folder below ``root``; what an archive does not name of it is made."""
    with suppress(FileNotFoundError):
        return open_beneath(root, path)
    handle = os.dup(root)
    for name in path.split("/"):
        try:
            make_directory_at(handle, name, FOLDER_MODE)
            inner = open_beneath(handle, name)
        finally:
            os.close(handle)
        handle = inner
    return handle


def _write(parent: int, name: str, entry: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
    with os.fdopen(handle, "wb") as file:
        source = archive.extractfile(entry)
        while source is not None and (piece := source.read(CHUNK_BYTES)):
            file.write(piece)
        file.flush()
        _dress(handle, entry)


def _dress(handle: int, entry: tarfile.TarInfo) -> None:
    """Owner, mode and time. A kubelet that may give nothing away keeps what it makes."""
    with suppress(PermissionError):
        os.fchown(handle, entry.uid, entry.gid)
    os.fchmod(handle, stat.S_IMODE(entry.mode))
    os.utime(handle, (entry.mtime, entry.mtime))


def _give(parent: int, name: str, entry: tarfile.TarInfo) -> None:
    with suppress(PermissionError):
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)

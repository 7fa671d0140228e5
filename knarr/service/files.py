"""Files that appear whole: written beside their place, brought to the disk, and renamed.

Whoever reads one finds what was there before or what is there now, also after a power cut; its mode is the one that was
meant, whatever the umask, from the moment it has a name.
"""

from __future__ import annotations

import os
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644
# The ending of a file that is not in its place yet, in random bytes.
MARK_BYTES = 4
# Whether files are to be there after a power cut: not those of a cluster that ends with its process.
on_disk: ContextVar[bool] = ContextVar("on_disk", default=True)


def write_whole(path: Path, data: bytes, *, mode: int) -> None:
    """Makes ``data`` the content of ``path``; a file that has this content and mode already is left alone.

    A file that is replaced goes on belonging to its owner. Raises OSError; then what was there before is there still.
    """
    if _is(path, data, mode):
        return
    aside = path.with_name(f".{path.name}.{os.urandom(MARK_BYTES).hex()}")
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:  # noqa: PTH123
            os.fchmod(file.fileno(), mode)
            with suppress(FileNotFoundError):
                owner = path.stat()
                if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(data)
            file.flush()
            if on_disk.get():
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def sweep(folder: Path, name: str = "*") -> None:
    """Removes what writes left in a folder, of all files or of one ``name``, whose process was killed meanwhile. Nobody else may be
    writing there."""
    for aside in folder.glob(f".{name}.{'[0-9a-f]' * 2 * MARK_BYTES}"):
        aside.unlink(missing_ok=True)


def _is(path: Path, data: bytes, mode: int) -> bool:
    try:
        return path.stat().st_mode & 0o7777 == mode and path.read_bytes() == data
    except FileNotFoundError:
        return False

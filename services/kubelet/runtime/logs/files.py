"""The files of one log: how they are called, how they are written, and one of them that is open."""

from __future__ import annotations

import abc
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from services.kubelet.runtime.logs.entries import Entry, TailSearch

READ_BYTES = 1 << 18

# Takes a place in a file and a number of bytes.
ReadAt = Callable[[int, int], bytes]


class LogFiles(abc.ABC):
    """One log of one engine. What an engine's runtime says of its own logs; nothing here is remembered."""

    @abc.abstractmethod
    def newest_first(self) -> Iterator[Path]:
        """Where its files are, or may be. Taken step by step while the engine rotates it shows some files twice, and leaves none out that
        was there all the time."""

    @abc.abstractmethod
    def cut(self, data: bytes, *, ended: bool = False) -> tuple[list[Entry], bytes]:
        """The entries that are complete, and what is left of the next one. ``ended``: no more comes for now, so that one that waits for its
        end may be broken, and what is whole behind it is not to wait, too."""

    @abc.abstractmethod
    def tail_start(self, read: ReadAt, size: int, search: TailSearch) -> int | None:
        """The place in a file of ``size`` bytes where the tail begins; None where it begins before the file."""


class OpenLog:
    """One file of a log, read from ``start_at`` on. Whoever renames or removes it changes nothing about that."""

    def __init__(self, descriptor: int, files: LogFiles) -> None:
        self._file, self._files = os.fdopen(descriptor, "rb", buffering=0), files
        self.inode = os.fstat(descriptor).st_ino
        self._place, self._rest = 0, b""
        # Where reading ends, whatever is written behind it; None: nowhere.
        self._until: int | None = None

    def close(self) -> None:
        self._file.close()

    @property
    def removed_bytes(self) -> int:
        """What it takes of the disk only because it is open: nothing while it has a name."""
        found = os.fstat(self._file.fileno())
        return 0 if found.st_nlink else found.st_size

    def stop_here(self) -> None:
        """Of what is written from now on nothing is read."""
        self._until = self._size

    def find_tail(self, search: TailSearch) -> bool:
        """Starts where the tail begins; False where it begins before this file."""
        place = self._files.tail_start(self._read_at, self._size, search)
        self._place = place or 0
        return place is not None

    def read(self) -> list[Entry] | None:
        """The next entries that are complete; None where there is nothing more for now."""
        data = self._next()
        if not data and self._size < self._place:
            # Somebody emptied it, to have room.
            self._place, self._rest = 0, b""
            data = self._next()
        if not data:
            return self._end()
        self._place += len(data)
        entries, self._rest = self._files.cut(self._rest + data)
        return entries

    @property
    def _size(self) -> int:
        found = os.fstat(self._file.fileno()).st_size
        return found if self._until is None else min(found, self._until)

    def _next(self) -> bytes:
        return self._read_at(self._place, READ_BYTES if self._until is None else min(READ_BYTES, max(self._until - self._place, 0)))

    def _end(self) -> list[Entry] | None:
        entries, rest = self._files.cut(self._rest, ended=True)
        if not entries:
            return None
        self._rest = rest
        return entries

    def _read_at(self, place: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, place)


def open_log(path: Path, files: LogFiles) -> OpenLog | None:
    """None where there is no file. Raises OSError.

    Whoever may write among the logs could have put a link there, or a pipe.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return OpenLog(descriptor, files)

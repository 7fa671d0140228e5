"""A file of an archive: records, to which is only appended.

    RECORD     length and checksum (4 bytes each, little endian), then that many bytes: JSON, compressed

A record that was cut short, or is not what was written, ends it. It is its owner's alone, whatever his umask.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

# Nothing that was written here is longer: an object has a few MiB at most.
MOST_RECORD_BYTES = 256 * 1024 * 1024
HEAD = struct.Struct("<II")
OWNER_ONLY = 0o600


class Segment:
    """A new one that is written to. ``size`` is what is written of it. Raises OSError where there can be none."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.size = 0
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, OWNER_ONLY)
        try:
            os.fchmod(self._file, OWNER_ONLY)
        except OSError:
            self.close()
            raise

    def append(self, records: Iterable[bytes]) -> None:
        """Whole records or nothing: what a full disk has cut is taken back. Raises OSError, which closes it; for what would be more than
        ``most_bytes`` as well."""
        begun = self.size
        try:
            for record in records:
                body = zlib.compress(record, 1)
                self._put(HEAD.pack(len(body), zlib.crc32(body)) + body)
                if self.size > self._most_bytes:
                    raise OSError(errno.EFBIG, f"the objects alone take more than {self._most_bytes} bytes")
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, begun)
            self.close()
            raise

    def _put(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            written = os.write(self._file, rest)
            self.size += written
            rest = rest[written:]

    def sync(self) -> None:
        with suppress(OSError):
            os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


def records(path: Path) -> Iterator[list[Any]]:
    """Up to the first that is not whole."""
    with path.open("rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            length, checksum = HEAD.unpack(head)
            if length > MOST_RECORD_BYTES:
                return
            body = file.read(length)
            if len(body) != length or zlib.crc32(body) != checksum:
                return
            yield orjson.loads(zlib.decompress(body))

"""What a recorder remembers, on disk: so that a page that is started again can show what was.

Segments, to which is only appended. Each begins with all objects of each resource, then come the changes, so it can be read without those
before it: the oldest is thrown away when all are too large or too old. A record that was cut short, or is not what was written, ends its
segment; what is missing then is told as a difference by the lists of the next one, or by the first list of the page itself.

    PIECE      length and checksum (4 bytes each, little endian), then that many bytes: JSON, compressed
    a list     ["list", resource, revision, seconds, objects of it that are still to come, [object, …]]
    a change   ["change", resource, revision, seconds, type, namespace, name, writer, object or null]

Files are their owner's alone, whatever his umask. Secrets are in it as the recorder has them: without their data.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from knarr.client.clock import SYSTEM_CLOCK, Clock
from services.web.recorder import DELETED, Change, ObjectKey, Recorder

log = logging.getLogger(__name__)

SEGMENT_BYTES, MOST_BYTES = 4 * 1024 * 1024, 32 * 1024 * 1024
KEPT_SECONDS = 24 * 3600.0
# After a write that failed: a disk may have room again.
RETRY_SECONDS = 60.0
OBJECTS_AT_ONCE = 50
# Nothing that was written here is longer: an object has a few MiB at most.
MOST_RECORD_BYTES = 256 * 1024 * 1024
HEAD = struct.Struct("<II")
SUFFIX, LOCK = ".log", "lock"
OWNER_ONLY, FOLDER_MODE = 0o600, 0o700


class Archive:
    """Of one recorder, in a folder of its own. ``problem`` says in words why nothing is kept now; empty while it is.

    Opened by ``open``, which never fails: a page without an archive shows what it sees itself.
    """

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        clock: Clock = SYSTEM_CLOCK,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._folder, self._recorder, self._clock = folder, recorder, clock
        self._segment_bytes, self._most_bytes = segment_bytes, most_bytes
        self.problem = ""
        self._lock: int | None = None
        self._file: int | None = None
        # What is written of the segment, and how much of it are lists.
        self._size = self._base = 0
        self._tried = 0.0

    def open(self) -> None:
        """Tells the recorder what was kept, and keeps what it hears from now on."""
        try:
            self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self._folder.chmod(FOLDER_MODE)
            self._lock = os.open(self._folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, OWNER_ONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._give_up("another page keeps what it sees there")
            return
        except OSError as error:
            self._give_up(error.strerror or str(error))
            return
        for segment in self._segments():
            self._read(segment)
        self._begin_segment()
        self._recorder.kept_by(self)

    def close(self) -> None:
        self._recorder.kept_by(None)
        if self._file is not None:
            with suppress(OSError):
                os.fdatasync(self._file)
        self._close_files()

    def listed(self, resource: str) -> None:
        """A resource's history begins, or goes on after a gap that its changes tell."""
        self._write(self._list(resource), base=True)

    def changed(self, change: Change, after: bytes | None) -> None:
        """``after`` is the object's JSON, None where it is gone."""
        key = change.key
        head = orjson.dumps(["change", key.resource, change.revision, change.at, change.type, key.namespace, key.name, change.writer])
        self._write([b"%s,%s]" % (head[:-1], after if after is not None else b"null")])

    def forgotten(self) -> None:
        """Something is not to be known any more: what is kept begins anew, with what the recorder has."""
        if self._lock is None:
            return
        for segment in self._segments():
            with suppress(OSError):
                segment.unlink()
        self._begin_segment()

    def _write(self, records: Iterable[bytes], *, base: bool = False) -> None:
        if self._lock is None:
            return
        if self._file is None:
            if self._clock.elapsed() - self._tried >= RETRY_SECONDS:
                self._begin_segment()
            return
        before = self._size
        if self._append(records):
            self._base += self._size - before if base else 0
            # Lists that are large are not to be written again and again.
            if self._size > max(self._segment_bytes, 2 * self._base):
                self._begin_segment()

    def _append(self, records: Iterable[bytes]) -> bool:
        """Whole records or nothing: what a full disk has cut is taken back."""
        assert self._file is not None
        begun = self._size
        try:
            for record in records:
                body = zlib.compress(record, 1)
                self._put(HEAD.pack(len(body), zlib.crc32(body)) + body)
                if self._size > self._most_bytes:
                    raise OSError(errno.EFBIG, f"the objects alone take more than {self._most_bytes} bytes")
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, begun)
            os.close(self._file)
            self._file = None
            self._tried = self._clock.elapsed()
            self._tell(error.strerror or str(error))
            return False
        return True

    def _put(self, piece: bytes) -> None:
        assert self._file is not None
        rest = memoryview(piece)
        while rest:
            written = os.write(self._file, rest)
            self._size += written
            rest = rest[written:]

    def _begin_segment(self) -> None:
        """The next one, after making room for it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        try:
            self._make_room()
            number = max((int(path.stem) for path in self._segments()), default=0) + 1
            path = self._folder / f"{number:010}{SUFFIX}"
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, OWNER_ONLY)
            os.fchmod(self._file, OWNER_ONLY)
        except OSError as error:
            self._tried = self._clock.elapsed()
            self._tell(error.strerror or str(error))
            return
        self._size = self._base = 0
        for resource in self._recorder.begun:
            if not self._append(self._list(resource)):
                return
        self._base = self._size
        self.problem = ""

    def _list(self, resource: str) -> Iterator[bytes]:
        recorder = self._recorder
        texts = recorder.texts(resource)
        for first in range(0, max(1, len(texts)), OBJECTS_AT_ONCE):
            some = texts[first : first + OBJECTS_AT_ONCE]
            head = orjson.dumps(["list", resource, recorder.latest, self._clock.now().timestamp(), len(texts) - first - len(some)])
            yield b"%s,[%s]]" % (head[:-1], b",".join(some))

    def _make_room(self) -> None:
        """For one more segment; what was last written to too long ago goes as well."""
        segments = self._segments()
        facts = [(path, path.stat()) for path in segments]
        size = sum(one.st_size for _, one in facts)
        now = self._clock.now().timestamp()
        for path, one in facts:
            if size + self._segment_bytes <= self._most_bytes and now - one.st_mtime <= KEPT_SECONDS:
                break
            path.unlink()
            size -= one.st_size

    def _segments(self) -> list[Path]:
        """The oldest first."""
        try:
            return sorted(path for path in self._folder.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal())
        except OSError:
            return []

    def _read(self, segment: Path) -> None:
        lists: dict[str, list[dict[str, Any]]] = {}
        try:
            for record in _records(segment):
                self._replay(record, lists)
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.warning("what was kept of a cluster ends where it cannot be read", extra={"path": str(segment), "error": str(error)})

    def _replay(self, record: list[Any], lists: dict[str, list[dict[str, Any]]]) -> None:
        kind, resource, revision, at = record[:4]
        if kind == "list":
            coming, objects = record[4:]
            lists.setdefault(resource, []).extend(objects)
            if not coming:
                self._recorder.replay_list(resource, lists.pop(resource), revision, at)
        elif kind == "change":
            event, namespace, name, writer, obj = record[4:]
            key = ObjectKey(resource, namespace, name)
            self._recorder.replay_change(key, event, revision, at, writer, None if event == DELETED else obj)

    def _give_up(self, words: str) -> None:
        self._tell(words)
        self._close_files()

    def _tell(self, words: str) -> None:
        self.problem = f"{self._folder}: {words}"
        log.warning("what is seen is not kept on disk", extra={"path": str(self._folder), "error": words})

    def _close_files(self) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                os.close(file)
        self._file = self._lock = None


def _records(segment: Path) -> Iterator[list[Any]]:
    """Up to the first that is not whole."""
    with segment.open("rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            length, checksum = HEAD.unpack(head)
            if length > MOST_RECORD_BYTES:
                return
            body = file.read(length)
            if len(body) != length or zlib.crc32(body) != checksum:
                return
            yield orjson.loads(zlib.decompress(body))


def newest(folder: Path) -> float:
    """When something was last kept in an archive's folder, seconds since 1970. Raises OSError for what is no folder."""
    return max((path.stat().st_mtime for path in folder.iterdir()), default=folder.stat().st_mtime)

"""What a recorder remembers, on disk: so that a page that is started again can show what was.

Segments, to which is only appended. Each begins with all objects of each resource, then come the changes, so it can be read without those
before it: the oldest is thrown away when all are too large or too old. What is missing where one is not whole is told as a difference by
the lists of the next one, or by the first list of the page itself. Their records:

    a list     ["list", resource, revision, seconds, objects of it that are still to come, [object, …]]
    a change   ["change", resource, revision, seconds, type, namespace, name, writer, object or null]

Files are their owner's alone, whatever his umask. Secrets are in it as the recorder has them: without their data.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from knarr.client.clock import SYSTEM_CLOCK, Clock
from services.web.packed import ObjectKey
from services.web.recorder import DELETED, Change, Recorder
from services.web.segment import OWNER_ONLY, Segment, records

log = logging.getLogger(__name__)

SEGMENT_BYTES, MOST_BYTES = 4 * 1024 * 1024, 32 * 1024 * 1024
KEPT_SECONDS = 24 * 3600.0
# After a write that failed: a disk may have room again.
RETRY_SECONDS = 60.0
OBJECTS_AT_ONCE = 50
SUFFIX, LOCK = ".log", "lock"
FOLDER_MODE = 0o700


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
        # The last, to which is written; None where it could not be.
        self._segment: Segment | None = None
        # How much of it are lists.
        self._base = 0
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
        for path in self._paths():
            self._read(path)
        self._begin_segment()
        self._recorder.kept_by(self)

    def close(self) -> None:
        self._recorder.kept_by(None)
        if self._segment is not None:
            self._segment.sync()
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
        for path in self._paths():
            with suppress(OSError):
                path.unlink()
        self._begin_segment()

    def _write(self, pieces: Iterable[bytes], *, base: bool = False) -> None:
        if self._lock is None:
            return
        segment = self._segment
        if segment is None:
            if self._clock.elapsed() - self._tried >= RETRY_SECONDS:
                self._begin_segment()
            return
        before = segment.size
        try:
            segment.append(pieces)
        except OSError as error:
            self._fail(error)
            return
        if base:
            self._base += segment.size - before
        # Lists that are large are not to be written again and again.
        if segment.size > max(self._segment_bytes, 2 * self._base):
            self._begin_segment()

    def _begin_segment(self) -> None:
        """The next one, after making room for it."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        try:
            self._make_room()
            number = max((int(path.stem) for path in self._paths()), default=0) + 1
            segment = Segment(self._folder / f"{number:010}{SUFFIX}", self._most_bytes)
            for resource in self._recorder.begun:
                segment.append(self._list(resource))
        except OSError as error:
            self._fail(error)
            return
        self._segment, self._base = segment, segment.size
        self.problem = ""

    def _fail(self, error: OSError) -> None:
        """It is tried again after a while."""
        self._segment = None
        self._tried = self._clock.elapsed()
        self._tell(error.strerror or str(error))

    def _list(self, resource: str) -> Iterator[bytes]:
        recorder = self._recorder
        texts = recorder.texts(resource)
        for first in range(0, max(1, len(texts)), OBJECTS_AT_ONCE):
            some = texts[first : first + OBJECTS_AT_ONCE]
            head = orjson.dumps(["list", resource, recorder.latest, self._clock.now().timestamp(), len(texts) - first - len(some)])
            yield b"%s,[%s]]" % (head[:-1], b",".join(some))

    def _make_room(self) -> None:
        """For one more segment; what was last written to too long ago goes as well."""
        facts = [(path, path.stat()) for path in self._paths()]
        size = sum(one.st_size for _, one in facts)
        now = self._clock.now().timestamp()
        for path, one in facts:
            if size + self._segment_bytes <= self._most_bytes and now - one.st_mtime <= KEPT_SECONDS:
                break
            path.unlink()
            size -= one.st_size

    def _paths(self) -> list[Path]:
        """Of segments, the oldest first."""
        try:
            return sorted(path for path in self._folder.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal())
        except OSError:
            return []

    def _read(self, path: Path) -> None:
        lists: dict[str, list[dict[str, Any]]] = {}
        try:
            for record in records(path):
                self._replay(record, lists)
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.warning("what was kept of a cluster ends where it cannot be read", extra={"path": str(path), "error": str(error)})

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
        if self._segment is not None:
            self._segment.close()
        if self._lock is not None:
            os.close(self._lock)
        self._segment = self._lock = None


def newest(folder: Path) -> float:
    """When something was last kept in an archive's folder, seconds since 1970. Raises OSError for what is no folder."""
    return max((path.stat().st_mtime for path in folder.iterdir()), default=folder.stat().st_mtime)

"""The files of the engine's log driver ``local``: records, each between its size and its size again. Pure.

A record is a ``LogEntry``. Its line has no newline; one that is longer than the engine's buffer is several entries, numbered, of which the
last says so. A record may be half of one, where the disk was full or the engine was killed in the midst of it, and others follow it: the
next one is looked for by how each of them begins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from google.protobuf.message import DecodeError

from knarr.api.docker.v1 import log_entry_pb2 as docker
from services.kubelet.runtime.logs.entries import Entry, TailSearch
from services.kubelet.runtime.logs.files import LogFiles, ReadAt
from services.kubelet.runtime.port import STDERR, STDOUT

STREAMS = {"stdout": STDOUT, "stderr": STDERR}
SIZE = struct.Struct(">I")
# As the engine has it: what is larger is no record.
MAX_RECORD_BYTES = 1_000_000
# The first field and how its two values begin.
MARK = b"\n\x06std"
BLOCK_BYTES = 1 << 16
NANOS = 10**9


class LocalLog(LogFiles):
    """``path`` is the file that is written to; ``.1`` is the one before it, ``.2`` the one before that."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest_first(self) -> Iterator[Path]:
        yield self._path
        number = 1
        # Asked each time: files move on to the next number meanwhile.
        while number <= self._highest():
            yield self._path.with_name(f"{self._path.name}.{number}")
            number += 1

    def _highest(self) -> int:
        numbers = (file.name.removeprefix(f"{self._path.name}.") for file in self._path.parent.glob(f"{self._path.name}.*"))
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def cut(self, data: bytes, *, ended: bool = False) -> tuple[list[Entry], bytes]:
        entries: list[Entry] = []
        # The last whole one ends at ``behind``.
        place, behind, total = 0, 0, len(data)
        while total - place >= SIZE.size:
            size = SIZE.unpack_from(data, place)[0]
            end = place + size + 2 * SIZE.size
            if end > total and size <= MAX_RECORD_BYTES and not ended:
                break
            if end <= total and _has_both_sizes(data, place, end) and (entry := _entry(data[place:end])) is not None:
                entries.append(entry)
                place = behind = end
            else:
                mark = data.find(MARK, place + SIZE.size + 1)
                place = mark - SIZE.size if mark >= 0 else max(place + 1, total - SIZE.size - len(MARK))
        # One that is half written may become whole.
        return entries, data[behind if ended else place :]

    def tail_start(self, read: ReadAt, size: int, search: TailSearch) -> int | None:
        window = _Window(read, size)
        while window.end > 0:
            entry = window.last()
            if entry is None:
                window.skip_back()
            elif search.ends_before(whole=entry.whole):
                return window.end
            else:
                window.step_back()
        return None


class _Window:
    """The part of a file before ``end``, as much of it as was looked at."""

    def __init__(self, read: ReadAt, size: int) -> None:
        self._read = read
        self._begin, self._data = size, b""
        self.end = size
        self._start = size

    def last(self) -> Entry | None:
        """The entry that ends at ``end``, which goes back over the beginning of one that has no mark yet; None where none ends there."""
        for end in range(self.end, max(self.end - SIZE.size - len(MARK), 2 * SIZE.size - 1), -1):
            (size,) = SIZE.unpack(self._bytes(end - SIZE.size, end))
            start = end - size - 2 * SIZE.size
            if size > MAX_RECORD_BYTES or start < 0 or self._bytes(start, start + SIZE.size) != self._bytes(end - SIZE.size, end):
                continue
            if (entry := _entry(self._bytes(start, end))) is not None:
                self._start, self.end = start, end
                return entry
        return None

    def step_back(self) -> None:
        """Before the entry that was asked for last."""
        self.end = self._start

    def skip_back(self) -> None:
        """To where the entry before seems to begin, which is not whole."""
        while True:
            mark = self._data.rfind(MARK, 0, self.end - self._begin)
            if mark >= SIZE.size or self._begin == 0:
                break
            self._bytes(max(0, self._begin - BLOCK_BYTES), self.end)
        self.end = max(self._begin + mark - SIZE.size, 0) if mark >= 0 else 0

    def _bytes(self, start: int, end: int) -> bytes:
        if start < self._begin:
            begin = max(0, min(start, self._begin - BLOCK_BYTES))
            self._data = self._read(begin, self._begin - begin) + self._data[: self.end - self._begin]
            self._begin = begin
        return self._data[start - self._begin : end - self._begin]


def _has_both_sizes(data: bytes, start: int, end: int) -> bool:
    return data[start : start + SIZE.size] == data[end - SIZE.size : end]


def _entry(record: bytes) -> Entry | None:
    """Of a record between its sizes; None where it is none."""
    try:
        found = docker.LogEntry.FromString(record[SIZE.size : -SIZE.size])
    except DecodeError:
        return None
    stream = STREAMS.get(found.source)
    if stream is None:
        return None
    seconds, nanos = divmod(found.time_nano, NANOS)
    return Entry(stream, b"%s.%09dZ" % (_second(seconds), nanos), found.line, not found.partial or found.partial_log_metadata.last)


@lru_cache(maxsize=16)
def _second(seconds: int) -> bytes:
    """As much of a stamp."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}".encode()

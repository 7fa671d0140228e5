"""Engines that write logs to files, as far as a reader of the files can tell, and rotate them: one a format."""

from __future__ import annotations

import abc
from datetime import UTC, datetime, timedelta
from pathlib import Path

from knarr.api.docker.v1 import log_entry_pb2 as docker
from services.kubelet.runtime.cri.log_files import LineLog, generations, rotated_path
from services.kubelet.runtime.docker.log_records import SIZE, LocalLog
from services.kubelet.runtime.logs.files import LogFiles

STARTED = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
STREAM_NAMES = {1: "stdout", 2: "stderr"}


class LogEngine(abc.ABC):
    """Writes one log below ``folder``; of ``kept`` files, the one that is written to among them, the oldest is removed."""

    def __init__(self, folder: Path, kept: int = 3) -> None:
        self.path, self.kept = folder / "container.log", kept
        self.rotations = 0
        self._place = -1
        self._file = self.path.open("ab", buffering=0)

    @property
    @abc.abstractmethod
    def files(self) -> LogFiles: ...

    @abc.abstractmethod
    def bytes_of(self, words: bytes, *, whole: bool = True, stream: int = 1) -> bytes:
        """An entry as the files have it, a second later than the one before."""

    @abc.abstractmethod
    def rename(self) -> None:
        """All files get their next names, and what is too old goes."""

    def write(self, words: str, *, whole: bool = True, stream: int = 1) -> None:
        self._file.write(self.bytes_of(words.encode(), whole=whole, stream=stream))

    def write_bytes(self, data: bytes) -> None:
        self._file.write(data)

    def rotate(self, last: str = "") -> None:
        """``last`` is still written to the file that had its new name by then."""
        self.rotations += 1
        self.rename()
        if last:
            self.write(last)
        self._file.close()
        self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()

    def _next_moment(self) -> datetime:
        self._place += 1
        return STARTED + timedelta(seconds=self._place)


class LineEngine(LogEngine):
    """Of the container runtime interface, with the kubelet that rotates for it."""

    @property
    def files(self) -> LogFiles:
        return LineLog(self.path)

    def bytes_of(self, words: bytes, *, whole: bool = True, stream: int = 1) -> bytes:
        stamp = f"{self._next_moment():%Y-%m-%dT%H:%M:%S.%f}000Z"
        return f"{stamp} {STREAM_NAMES[stream]} {'F' if whole else 'P'} ".encode() + words + b"\n"

    def rename(self) -> None:
        self.path.rename(rotated_path(self.path, STARTED + timedelta(seconds=self.rotations)))
        for old in generations(self.path)[: 1 - self.kept]:
            old.unlink()


class RecordEngine(LogEngine):
    """Docker's driver ``local``."""

    @property
    def files(self) -> LogFiles:
        return LocalLog(self.path)

    def bytes_of(self, words: bytes, *, whole: bool = True, stream: int = 1) -> bytes:
        entry = docker.LogEntry(source=STREAM_NAMES[stream], time_nano=int(self._next_moment().timestamp()) * 10**9, line=words)
        if not whole:
            entry.partial = True
            entry.partial_log_metadata.id, entry.partial_log_metadata.ordinal = "a" * 64, 1
        data = entry.SerializeToString()
        return SIZE.pack(len(data)) + data + SIZE.pack(len(data))

    def rename(self) -> None:
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{number}") for number in range(1, self.kept))]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.rename(older)


ENGINES: dict[str, type[LogEngine]] = {"lines": LineEngine, "records": RecordEngine}

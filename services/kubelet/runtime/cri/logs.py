"""What the engine's containers wrote, from the files that the engine writes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from services.kubelet.runtime.cri.log_files import generations, log_path
from services.kubelet.runtime.cri.log_lines import Entry, Joiner, TailSearch, entry_of, stamp_of, tail_start
from services.kubelet.runtime.cri.observer import EngineObserver
from services.kubelet.runtime.port import RUNNING, Container, LogOptions, NoSuchContainer

READ_BYTES = 1 << 18
# How often a log that is followed is looked at where nothing came.
FOLLOW_SECONDS = 0.1


class OpenLog:
    """One file of a log, read from ``place`` on. Whoever renames or removes it changes nothing about that."""

    def __init__(self, path: Path) -> None:
        # Whoever may write among the logs could have put a link here, or a pipe, since they were listed.
        self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        self.inode = os.fstat(self._file.fileno()).st_ino
        self._place, self._rest = 0, b""

    def close(self) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def read_at(self, place: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, place)

    def start_at(self, place: int) -> None:
        self._place = place

    def read(self) -> list[Entry] | None:
        """The next entries that are complete; None where there is nothing more for now."""
        data = self.read_at(self._place, READ_BYTES)
        if not data:
            return None
        self._place += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [entry for line in lines if (entry := entry_of(line)) is not None]


class LogReader:
    """All files of one log as one stream of entries. Its methods block; one at a time.

    What is read next is known by its place behind the file that is open, whose number nobody else has as long: numbers of files that are
    gone are given to new ones at once.
    """

    def __init__(self, path: Path, tail_lines: int | None) -> None:
        self._path = path
        self._open: OpenLog | None = None
        if tail_lines is not None:
            self._begin_at_tail(tail_lines)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _begin_at_tail(self, lines: int) -> None:
        search = TailSearch(lines)
        for path in reversed(generations(self._path)):
            try:
                log = OpenLog(path)
            except FileNotFoundError:
                continue
            place = tail_start(log.read_at, log.size, search)
            if place is not None:
                log.start_at(place)
                self._open = log
                return
            log.close()

    def read(self) -> list[Entry] | None:
        """The next entries; None where there is nothing more for now."""
        while True:
            if self._open is None and not self._advance():
                return None
            assert self._open is not None
            # Whether there is a next file is asked before the last look at this one: what was written until then is not lost.
            moved = bool(self._behind(self._open))
            entries = self._open.read()
            if entries is not None:
                return entries
            if not moved or not self._advance():
                return None

    def _behind(self, log: OpenLog | None) -> list[Path]:
        """The files that are read after this one, in their order; all where it is gone, since the oldest go first."""
        files = generations(self._path)
        place = next((at for at, path in enumerate(files) if log is not None and _inode(path) == log.inode), -1)
        return files[place + 1 :]

    def _advance(self) -> bool:
        """Opens the next file; False where there is none."""
        while files := self._behind(self._open):
            try:
                found = OpenLog(files[0])
            except FileNotFoundError:
                continue
            # Its name may have gone to a later file meanwhile.
            if len(self._behind(found)) == len(self._behind(self._open)) - 1:
                self.close()
                self._open = found
                return True
            found.close()
        return False


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


class EngineLogs:
    """Streams output."""

    def __init__(self, logs: Path, observer: EngineObserver) -> None:
        self._logs = logs
        self._observer = observer

    def path(self, container_id: str) -> Path | None:
        """Of a container that is known."""
        found = self._observer.observations.find(container_id)
        if found is None or not isinstance(found[1], Container):
            return None
        return log_path(self._logs, found[0], found[1].name, found[1].attempt)

    async def read(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """As ``Runtime.logs``."""
        path = self.path(container_id)
        if path is None:
            raise NoSuchContainer(f"No such container: {container_id}")
        joiner = Joiner(stamps=options.timestamps, since=stamp_of(options.since) if options.since else b"")
        reader = await asyncio.to_thread(LogReader, path, options.tail_lines)
        try:
            async for entries in self._entries(reader, lambda: options.follow and self._runs(container_id)):
                if data := joiner.join(entries):
                    yield data
        finally:
            reader.close()

    def _runs(self, container_id: str) -> bool:
        container = self._observer.observations.container(container_id)
        return container is not None and container.state == RUNNING

    async def _entries(self, reader: LogReader, goes_on: Callable[[], bool]) -> AsyncIterator[list[Entry]]:
        """Until nothing more comes. A container that ended before a look is looked at once more: the engine has written all by then."""
        while True:
            more = goes_on()
            while (entries := await asyncio.to_thread(reader.read)) is not None:
                yield entries
            if not more:
                return
            await asyncio.sleep(FOLLOW_SECONDS)

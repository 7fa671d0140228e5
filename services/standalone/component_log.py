"""What a cluster has written, and what it writes from now on: all of it, or one component's lines."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import orjson

if TYPE_CHECKING:
    from services.kubelet.runtime.port import LogOptions

ETCD = "etcd"
COMPONENTS = ("apiserver", "cloud", "controller", "dns", ETCD, "gateway", "kubelet", "proxy", "scheduler")
LOOK_SECONDS = 0.2
# How many lines are read without letting others go on.
CHUNK_LINES = 1000
# As TextFormatter of knarr/service/logs.py begins a line: date, time, level, logger. There was no date once.
_HEAD = re.compile(r"(\d{4}-\d\d-\d\d )?(\d\d:\d\d:\d\d\.\d{3}) \w+ +(\S+)")
# What etcd writes for the zone of its times, which are in UTC.
_ETCD_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")


class Of:
    """Tells which lines are a component's; those of a traceback follow the line that they belong to."""

    def __init__(self, component: str) -> None:
        self._all = component in ("", ETCD)
        self._logger, self._extra = f"services.{component}", f"component={component}"
        self._component = component
        self._wanted = self._all

    def __call__(self, line: str) -> bool:
        if self._all:
            return True
        if line.startswith("{"):
            with suppress(orjson.JSONDecodeError):
                fields = orjson.loads(line)
                self._wanted = self._is_own(str(fields.get("logger", ""))) or fields.get("component") == self._component
        elif head := _HEAD.match(line):
            self._wanted = self._is_own(head[3]) or self._extra in line.split()
        return self._wanted

    def _is_own(self, logger: str) -> bool:
        return logger == self._logger or logger.startswith(f"{self._logger}.")


class Log:
    """A log file, which may be begun anew while it is read; what it held before lies beside it as FILE.1. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def kept(self) -> Iterator[str]:
        """All lines that are there."""
        with suppress(FileNotFoundError), self._path.with_name(f"{self._path.name}.1").open("rb") as former:
            # It became the former one just now.
            if os.fstat(former.fileno()).st_ino != os.fstat(self._file.fileno()).st_ino:
                yield from map(_text, former)
        yield from self._whole_lines()

    def coming(self, wait: Callable[[], object] = lambda: time.sleep(LOOK_SECONDS)) -> Iterator[str]:
        """Each line that is written from now on, for ever; ``wait`` is called when there is none."""
        while True:
            yield from self.new()
            wait()

    def new(self) -> Iterator[str]:
        """Each line that was written since the last look."""
        yield from self._whole_lines()
        while self._was_replaced():
            yield from self._whole_lines()
            self._file.close()
            self._file = self._path.open("rb")
            yield from self._whole_lines()

    def _whole_lines(self) -> Iterator[str]:
        """Up to the end; half a line is read again when it is whole."""
        while line := self._file.readline():
            if not line.endswith(b"\n"):
                self._file.seek(-len(line), os.SEEK_CUR)
                return
            yield _text(line)

    def _was_replaced(self) -> bool:
        opened = os.fstat(self._file.fileno())
        if opened.st_size < self._file.tell():
            return True
        with suppress(FileNotFoundError):
            return self._path.stat().st_ino != opened.st_ino
        return False


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\n")


def time_of(line: str) -> datetime | None:
    """When a line was written; None for one that begins otherwise, as those of a traceback do."""
    if line.startswith("{"):
        with suppress(orjson.JSONDecodeError, ValueError, TypeError):
            fields = orjson.loads(line)
            if found := _ETCD_TIME.match(str(fields.get("ts", ""))):
                return datetime.fromisoformat(found[0]).replace(tzinfo=UTC)
            return datetime.fromisoformat(fields["time"]).astimezone(UTC) if "time" in fields else None
    elif (head := _HEAD.match(line)) and head[1]:
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(f"{head[1]}{head[2]}").astimezone(UTC)
    return None


class ComponentLog:
    """One component's lines as ``kubectl logs`` asks for them. Files are read in threads: they may be long."""

    def __init__(self, path: Path, component: str) -> None:
        self._path, self._component = path, component

    async def read(self, options: LogOptions, since: datetime | None, until: datetime | None) -> AsyncIterator[bytes]:
        """Bytes of whole lines, from ``since`` until before ``until``. Those of a traceback have the time of the line before."""
        try:
            log = await asyncio.to_thread(Log, self._path)
        except FileNotFoundError:
            # It has written nothing yet.
            return
        begin = max((moment for moment in (since, options.since) if moment is not None), default=None)
        form = _Form(Of(self._component), begin, until, timestamps=options.timestamps)
        with log:
            lines = form.of(log.kept())
            if options.tail_lines is not None:
                lines = iter(await asyncio.to_thread(deque, lines, options.tail_lines))
            while chunk := await asyncio.to_thread(_next_of, lines):
                yield b"".join(chunk)
            while options.follow:
                if chunk := await asyncio.to_thread(list, form.of(log.new())):
                    yield b"".join(chunk)
                else:
                    await asyncio.sleep(LOOK_SECONDS)


class _Form:
    """Chooses lines, and writes them as a runtime's log does. Remembers the time of the line before."""

    def __init__(self, is_wanted: Of, begin: datetime | None, until: datetime | None, *, timestamps: bool) -> None:
        self._is_wanted, self._begin, self._until, self._timestamps = is_wanted, begin, until, timestamps
        self._time: datetime | None = None

    def of(self, lines: Iterable[str]) -> Iterator[bytes]:
        for line in lines:
            self._time = time_of(line) or self._time
            if self._is_wanted(line) and self._is_within():
                stamp = f"{_stamp(self._time)} " if self._timestamps and self._time is not None else ""
                yield f"{stamp}{line}\n".encode()

    def _is_within(self) -> bool:
        if self._time is None:
            # From before lines had a date.
            return self._begin is None
        # Lines tell milliseconds.
        begin = self._begin.replace(microsecond=self._begin.microsecond // 1000 * 1000) if self._begin is not None else None
        return (begin is None or self._time >= begin) and (self._until is None or self._time < self._until)


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z"


def _next_of(lines: Iterator[bytes]) -> list[bytes]:
    return list(islice(lines, CHUNK_LINES))

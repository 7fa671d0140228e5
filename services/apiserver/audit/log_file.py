"""The log's file: one line an event, begun anew when it is large, the former ones kept for a while.

What was is called as Kubernetes calls it (``audit-2026-11-29T06-00-00.000.log``), and may be compressed. Everything here blocks: it runs in
a thread.
"""

from __future__ import annotations

import gzip
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

log = logging.getLogger(__name__)

MEGABYTE = 1024 * 1024
STDOUT = "-"
_STAMP = "%Y-%m-%dT%H-%M-%S"
_STAMPED = re.compile(r"-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)\.\d{3}$")


@dataclass(frozen=True, slots=True)
class Keeping:
    """How much is kept: megabytes of one file, days, and files beside the present one. 0 days or files: no bound of that kind."""

    megabytes: int = 100
    days: int = 30
    files: int = 10
    compress: bool = False


def present() -> datetime:
    return datetime.now(UTC)


class LogFile:
    """Opened at the first write. Raises OSError, and may be written to again: what was cut short is ended first."""

    def __init__(self, path: Path, keeping: Keeping, clock: Callable[[], datetime] = present) -> None:
        self._path, self._keeping, self._clock = path, keeping, clock
        self._descriptor = -1
        self._size = 0
        self._is_cut = False
        self._has_former = True

    def write(self, lines: bytes) -> None:
        """Whole lines, which are on the disk's side of the system when this returns."""
        if self._descriptor >= 0 and self._is_elsewhere():
            self.close()
        if self._descriptor < 0:
            self._open()
        if self._size and self._size + len(lines) > self._keeping.megabytes * MEGABYTE:
            self._rotate()
        if self._is_cut:
            lines = b"\n" + lines
        rest = memoryview(lines)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except OSError:
                self._is_cut = self._is_cut or len(rest) < len(lines)
                raise
            self._size += written
            rest = rest[written:]
        self._is_cut = False
        if self._has_former:
            self._has_former = False
            self._tidy()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        if self._size:
            # A server that died may have left half a line.
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                self._is_cut = file.read(1) != b"\n"

    def _is_elsewhere(self) -> bool:
        """Whether somebody else has moved the file away."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    def _rotate(self) -> None:
        self.close()
        now = self._clock()
        name = f"{self._path.stem}-{now.strftime(_STAMP)}.{now.microsecond // 1000:03}{self._path.suffix}"
        self._path.rename(self._path.with_name(name))
        self._open()
        self._is_cut = False
        self._has_former = True

    def _tidy(self) -> None:
        """Compresses and removes what was, as far as it is to be. That is not worth a line that is lost."""
        try:
            self._sort_out()
        except OSError as error:
            log.warning("a former audit log can neither be compressed nor removed", extra={"path": str(self._path), "error": error})

    def _sort_out(self) -> None:
        kept = self._former()
        too_old = self._clock() - timedelta(days=self._keeping.days) if self._keeping.days else None
        for at, (stamp, file) in enumerate(kept):
            if (self._keeping.files and at >= self._keeping.files) or (too_old is not None and stamp < too_old):
                file.unlink(missing_ok=True)
            elif self._keeping.compress and file.suffix != ".gz":
                _compress(file)

    def _former(self) -> list[tuple[datetime, Path]]:
        """What was, the newest first."""
        found = []
        for file in self._path.parent.glob(f"{self._path.stem}-*"):
            bare = file.with_suffix("") if file.suffix == ".gz" else file
            stem = bare.name.removesuffix(self._path.suffix)
            if match := _STAMPED.search(stem):
                found.append((datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC), file))
        return sorted(found, key=lambda pair: (pair[0], pair[1].name), reverse=True)


class StandardOutput:
    """Lines for whoever gathers what the process says."""

    def write(self, lines: bytes) -> None:
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """It is not ours."""


def _compress(file: Path) -> None:
    squeezed = file.with_name(f"{file.name}.gz")
    aside = file.with_name(f"{file.name}.part")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with file.open("rb") as source, os.fdopen(descriptor, "wb") as target, gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as into:
        shutil.copyfileobj(source, into)
    aside.rename(squeezed)
    file.unlink()

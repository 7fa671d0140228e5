"""Structured logs: one JSON object a line, or one readable line for a person at a terminal.

What anybody outside can cause is written sparingly: each place in the code has a budget of lines, and a log file is begun anew when it is
long. So a log neither fills a disk nor loses what else happened among a million lines of one kind.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

# What one place in the code may write at once, and by how much that grows again each second.
BUDGET_LINES, LINES_A_SECOND = 200.0, 10.0
# What a traceback costs, in lines.
TRACEBACK_LINES = 10.0
# A file of more is kept as FILE.1 and begun anew.
FILE_BYTES = 16 * 1024 * 1024

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller gave as ``extra=``."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """``{"time": …, "level": …, "logger": …, "message": …, <extras>}``."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extras(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str).decode()


class TextFormatter(logging.Formatter):
    """``2026-05-04 12:00:01.250 info  services.kubelet  container started  pod=default/web``, by the machine's own time."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        values = " ".join(f"{key}={value}" for key, value in extras(record).items())
        line = f"{time} {record.levelname.lower():<7} {record.name}  {record.getMessage()}  {values}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Sparing(logging.Filter):
    """Holds each cause, that is a place in the code and the type of its error, to a budget. The next line that is written says how many
    were not. Messages for debugging are never left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # By cause: what is left of the budget, as of when, and how many lines were left out since the last that was written.
        self._budgets: dict[tuple[object, ...], tuple[float, float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        error = record.exc_info[0] if record.exc_info else None
        cause, cost = (record.pathname, record.lineno, error), TRACEBACK_LINES if error else 1.0
        now = self._clock()
        left, before, left_out = self._budgets.get(cause, (BUDGET_LINES, now, 0))
        left = min(BUDGET_LINES, left + (now - before) * LINES_A_SECOND)
        if left < cost:
            self._budgets[cause] = left, now, left_out + 1
            return False
        self._budgets[cause] = left - cost, now, 0
        if left_out:
            record.left_out = left_out
        return True


class FileHandler(logging.StreamHandler[Any]):
    """Writes to standard error, which is a file: beyond FILE_BYTES it becomes FILE.1, and whoever writes to this process' output goes on in
    a new one."""

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if os.fstat(sys.stderr.fileno()).st_size > FILE_BYTES:
            self._begin_anew()

    def _begin_anew(self) -> None:
        try:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            fresh = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            # There is nobody to tell; the next line tries again.
            return
        for output in (sys.stdout, sys.stderr):
            os.dup2(fresh, output.fileno())
        os.close(fresh)


def configure(style: str = "text", level: str = "info", file: Path | None = None) -> None:
    """Sends all logs to standard error. ``style`` is ``text`` or ``json``; ``file`` is where standard error leads, if it is a file of
    this process' own, which is then kept short."""
    handler: logging.StreamHandler[Any] = logging.StreamHandler(sys.stderr) if file is None else FileHandler(file)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    handler.addFilter(Sparing())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("asyncio", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

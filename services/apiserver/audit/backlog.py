"""Lines on their way to the log: a bounded heap of them, and a thread that writes.

A request does not wait for the log. What comes faster than it can be written, or while the disk is full, is left out and counted; a server
that dies leaves out the last moment. What lies here at a stop is written before it ends.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from services.apiserver.audit.event import AuditEvent
from services.apiserver.audit.lines import Objects
from services.apiserver.audit.metrics import ERRORS, EVENTS

log = logging.getLogger(__name__)

# Lines gather for so long before they are written; what is there at once of them, and of the objects in them, is bounded.
GATHER_SECONDS = 0.05
MAX_LINES, MAX_BYTES = 50_000, 16 * 1024 * 1024
# Lines are put together so many at a time, in the loop: what that takes is in the processor's caches then. The thread that writes would
# fight the loop for the interpreter.
TOGETHER = 32


class Sink(Protocol):
    """Where lines go; both methods block."""

    def write(self, lines: bytes) -> None:
        """Raises OSError."""
        ...

    def close(self) -> None: ...


class Backlog:
    """One sink's. ``run`` writes until it is cancelled."""

    def __init__(self, sink: Sink, plugin: str = "log", *, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES) -> None:
        self._sink, self._max_lines, self._max_bytes = sink, max_lines, max_bytes
        self._lines: list[bytes | AuditEvent | Objects] = []
        # Those before have been put together.
        self._made = 0
        self._bytes = 0
        self._is_full = False
        self._filled = asyncio.Event()
        self._events, self._errors = EVENTS.of(plugin), ERRORS.of(plugin)

    def add(self, line: bytes | AuditEvent | Objects) -> None:
        """A line, or what it will be made of."""
        size = len(line) if isinstance(line, bytes) else line.held_bytes
        lines = self._lines
        if self._bytes + size > self._max_bytes or len(lines) >= self._max_lines:
            self._leave_out()
            return
        self._events.value += 1
        if not lines:
            self._filled.set()
        lines.append(line)
        self._bytes += size
        if len(lines) - self._made >= TOGETHER:
            self._make()

    def _leave_out(self) -> None:
        self._errors.inc()
        if not self._is_full:
            # Told once of each heap: to tell it of each event would be as much work as to keep them.
            self._is_full = True
            log.error("the audit log does not keep up; events are left out", extra={"waiting": len(self._lines), "bytes": self._bytes})

    def _make(self) -> None:
        """Puts the lines together that have no objects."""
        lines = self._lines
        for at in range(self._made, len(lines)):
            line = lines[at]
            if isinstance(line, AuditEvent):
                lines[at] = made = line.line()
                self._bytes += len(made) - line.held_bytes
        self._made = len(lines)

    async def run(self) -> None:
        writing: asyncio.Future[None] | None = None
        try:
            while True:
                await self._filled.wait()
                await asyncio.sleep(GATHER_SECONDS)
                writing = asyncio.ensure_future(asyncio.to_thread(self._write, self._taken()))
                await asyncio.shield(writing)
        finally:
            if writing is not None:
                # Though this is cancelled: two at once would mix their lines.
                await asyncio.wait({writing})
            self._write(self._taken())
            self._sink.close()

    def _taken(self) -> list[bytes | AuditEvent | Objects]:
        self._filled.clear()
        self._make()
        taken, self._lines, self._made, self._bytes, self._is_full = self._lines, [], 0, 0, False
        return taken

    def _write(self, lines: list[bytes | AuditEvent | Objects]) -> None:
        if not lines:
            return
        written = [line if isinstance(line, bytes) else line.line() for line in lines]
        try:
            self._sink.write(b"".join(written))
        except OSError as error:
            self._errors.value += len(lines)
            log.error("the audit log cannot be written; events are lost", extra={"events": len(lines), "error": error})

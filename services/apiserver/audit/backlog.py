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
# Lines of requests' ends are put together so many at a time, in the loop and as one text: what that takes is in the processor's caches
# then, and they share their memory. The thread that writes would fight the loop for the interpreter.
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
        self._lines: list[bytes | Objects] = []
        self._count = self._bytes = 0
        # Requests that have ended, of whose lines none is put together yet.
        self._ended: list[AuditEvent] = []
        self._is_full = False
        self._filled = asyncio.Event()
        self._events, self._errors = EVENTS.of(plugin), ERRORS.of(plugin)

    def add(self, line: bytes | Objects) -> None:
        """A line, or what it will be made of."""
        if self._ended:
            self._make()
        self._keep(line, len(line) if isinstance(line, bytes) else line.held_bytes, 1)

    def end(self, event: AuditEvent) -> None:
        """The line of a request's end, to be put together from what its event knows."""
        ended = self._ended
        if not ended:
            self._filled.set()
        ended.append(event)
        if len(ended) >= TOGETHER:
            self._make()

    def _make(self) -> None:
        ended, self._ended = self._ended, []
        parts: list[bytes] = []
        for event in ended:
            parts += event.line()
        lines = b"".join(parts)
        self._keep(lines, len(lines), len(ended))

    def _keep(self, lines: bytes | Objects, size_bytes: int, count: int) -> None:
        if self._bytes + size_bytes > self._max_bytes or self._count + count > self._max_lines:
            self._leave_out(count)
            return
        self._events.value += count
        self._lines.append(lines)
        self._count += count
        self._bytes += size_bytes
        self._filled.set()

    def _leave_out(self, count: int) -> None:
        self._errors.value += count
        if not self._is_full:
            # Told once of each heap: to tell it of each event would be as much work as to keep them.
            self._is_full = True
            log.error("the audit log does not keep up; events are left out", extra={"waiting": self._count, "bytes": self._bytes})

    async def run(self) -> None:
        writing: asyncio.Future[None] | None = None
        try:
            while True:
                await self._filled.wait()
                await asyncio.sleep(GATHER_SECONDS)
                writing = asyncio.ensure_future(asyncio.to_thread(self._write, *self.taken()))
                await asyncio.shield(writing)
        finally:
            if writing is not None:
                # Though this is cancelled: two at once would mix their lines.
                await asyncio.wait({writing})
            self._write(*self.taken())
            self._sink.close()

    def taken(self) -> tuple[list[bytes | Objects], int]:
        """What lies here, and of how many events it tells."""
        if self._ended:
            self._make()
        self._filled.clear()
        taken = self._lines, self._count
        self._lines, self._count, self._bytes, self._is_full = [], 0, 0, False
        return taken

    def _write(self, lines: list[bytes | Objects], count: int) -> None:
        if not lines:
            return
        written = [line if isinstance(line, bytes) else line.line() for line in lines]
        try:
            self._sink.write(b"".join(written))
        except OSError as error:
            self._errors.value += count
            log.error("the audit log cannot be written; events are lost", extra={"events": count, "error": error})

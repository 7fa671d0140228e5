"""What a connection takes: whether it may be written to and read from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol


class Writable(Protocol):
    """What may be full."""

    def drained(self) -> Awaitable[None] | None:
        """None while it takes what is written, else what to wait for."""


async def has_room(writable: Writable, stall_seconds: float) -> bool:
    """Waits until it takes more; False when that took longer than ``stall_seconds``."""
    if (drained := writable.drained()) is None:
        return True
    try:
        async with asyncio.timeout(stall_seconds):
            await drained
    except TimeoutError:
        return False
    return True


class Flow:
    """uvicorn's ``FlowControl`` in a third of its memory: most connections are never full, and need nothing to wait by."""

    __slots__ = ("_transport", "_writable", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writable: asyncio.Event | None = None
        self.read_paused = self.write_paused = False

    async def drain(self) -> None:
        """Returns once more may be written, or the connection is gone."""
        if self.write_paused:
            self._writable = self._writable or asyncio.Event()
            await self._writable.wait()

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

"""The engine's multiplexed output, and sessions on hijacked connections."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

from knarr.service import endings
from services.kubelet.runtime.docker.engine import Engine, EngineError
from services.kubelet.runtime.port import STDOUT, RuntimeFailure, RuntimeUnavailable, Session

HEADER = struct.Struct(">BxxxL")
READ_BYTES = 1 << 15


class FrameReader:
    """Cuts bytes into frames: feed it, take (stream, bytes) pairs. Payloads are passed on before they are complete."""

    def __init__(self) -> None:
        self._head = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        frames: list[tuple[int, bytes]] = []
        while data:
            if self._left == 0:
                need = HEADER.size - len(self._head)
                self._head, data = self._head + data[:need], data[need:]
                if len(self._head) < HEADER.size:
                    break
                self._stream, self._left = HEADER.unpack(self._head)
                self._head = b""
                continue
            piece, data = data[: self._left], data[self._left :]
            self._left -= len(piece)
            frames.append((self._stream, piece))
        return frames


class HijackedSession(Session):
    """A process one is connected to through the engine."""

    def __init__(
        self,
        engine: Engine,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tty: bool,
        resize_path: str,
        exit_code: Callable[[], Awaitable[int]],
        abandon: Callable[[], Awaitable[None]],
    ) -> None:
        """``abandon`` is called where the session is closed before the process has ended."""
        self._engine = engine
        self._reader = reader
        self._writer = writer
        self._tty = tty
        self._resize_path = resize_path
        self._exit_code = exit_code
        self._abandon = abandon
        self._ended = False
        self._frames = FrameReader()
        self._ready: list[tuple[int, bytes]] = []

    async def read(self) -> tuple[int, bytes] | None:
        while not self._ready:
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as error:
                raise RuntimeUnavailable(str(error)) from error
            if not data:
                return None
            self._ready = [(STDOUT, data)] if self._tty else self._frames.feed(data)
        return self._ready.pop(0)

    async def write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise RuntimeFailure(str(error)) from error

    async def close_stdin(self) -> None:
        if self._writer.can_write_eof() and not self._writer.is_closing():
            try:
                self._writer.write_eof()
            except OSError as error:
                raise RuntimeFailure(str(error)) from error

    async def resize(self, width: int, height: int) -> None:
        try:
            await self._engine.request("POST", self._resize_path, params={"w": width, "h": height})
        except EngineError:
            return

    async def exit_code(self) -> int:
        code = await self._exit_code()
        self._ended = True
        return code

    async def close(self) -> None:
        self._writer.close()
        try:
            if not self._ended:
                await self._abandon()
        finally:
            await endings.close(self._writer)

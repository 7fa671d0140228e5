"""DNS over TCP: messages with their length before them, several on one connection, answered as they are ready."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable

from services.dns.counters import Counters
from services.dns.query.responder import Responder
from services.dns.settings import DnsSettings

log = logging.getLogger(__name__)

LENGTH_BYTES = 2
# Queries of one connection that wait at once; then no more is read from it.
MAX_PIPELINED = 50
WRITE_TIMEOUT_SECONDS = 5.0


class TcpServer:
    """Serves one address. Beyond ``tcp_connections`` a new connection is closed at once."""

    def __init__(self, responder: Responder, counters: Counters, settings: DnsSettings) -> None:
        self._responder = responder
        self._ready = responder.ready("tcp")
        self._counters = counters
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def start(self, address: str, port: int) -> int:
        """Binds and serves; answers the port. Raises OSError."""
        self._server = await asyncio.start_server(self._accepted, address, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._server = None

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._settings.tcp_connections:
            self._counters.dropped += 1
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        connection = _Connection(self, reader, writer)
        try:
            await connection.serve()
        except asyncio.CancelledError:
            # The server stops; nobody waits for this task's result but `close`.
            pass
        finally:
            self._connections.discard(task)
            await connection.close()

    def answer(self, query: bytes) -> bytes | Awaitable[bytes] | None:
        self._counters.tcp += 1
        found = self._ready.find(query)
        if found is not None:
            self._counters.ready_hits += 1
            return found
        return self._responder.answer(query, "tcp")

    @property
    def idle_seconds(self) -> float:
        return self._settings.tcp_idle_seconds


class _Connection:
    def __init__(self, server: TcpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._waiting: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Serves one client until it leaves, is idle for too long or does not read its answers."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                async with asyncio.timeout(self._server.idle_seconds):
                    length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
                    query = await self._reader.readexactly(length)
                made = self._server.answer(query)
                if isinstance(made, bytes):
                    await self._write(made)
                elif made is None:
                    return
                else:
                    await self._wait_with(made)
        if self._waiting:
            # A client may have sent its last query and closed its side.
            await asyncio.wait(self._waiting, timeout=self._server.idle_seconds)

    async def _wait_with(self, made: Awaitable[bytes]) -> None:
        while len(self._waiting) >= MAX_PIPELINED:
            await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(self._write_later(made))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _write_later(self, made: Awaitable[bytes]) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            await self._write(await made)

    async def _write(self, answer: bytes) -> None:
        self._writer.write(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
        async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
            await self._writer.drain()

    async def close(self) -> None:
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                await self._writer.wait_closed()

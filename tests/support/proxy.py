"""A TCP proxy of the test's own before a server: it loses answers, holds everything back, or is cut, on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

PIECE_BYTES = 1 << 16


class TcpProxy:
    """Passes bytes between whoever connects to ``endpoint`` and the server at ``target`` (``host:port``).

    ``mute`` throws away what the server answers, ``hold`` lets nothing through in either direction (it is kept), ``cut`` breaks the
    connections that stand and takes no new ones; ``mend`` ends all three. What was thrown away is missing, so that a connection
    which was muted is broken by ``mend``.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._muted = self._away = False

    @property
    def endpoint(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def mute(self) -> None:
        self._muted = True

    def hold(self) -> None:
        self._open.clear()

    def cut(self) -> None:
        self._away = True
        self._break()

    def mend(self) -> None:
        if self._muted:
            self._break()
        self._muted = self._away = False
        self._open.set()

    def _break(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        host, _, port = self._target.rpartition(":")
        try:
            server_reader, server_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        if self._away:
            writer.transport.abort()
            server_writer.transport.abort()
            return
        for source, sink, answers in ((reader, server_writer, False), (server_reader, writer, True)):
            task = asyncio.create_task(self._pass(source, sink, answers, (writer, server_writer)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool, both: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        self._writers.add(sink)
        try:
            with contextlib.suppress(OSError):
                while piece := await source.read(PIECE_BYTES):
                    await self._open.wait()
                    if not (answers and self._muted):
                        sink.write(piece)
                        await sink.drain()
        finally:
            self._writers.discard(sink)
            for writer in both:
                writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[TcpProxy]:
    """A proxy that passes everything at first."""
    proxy = TcpProxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()

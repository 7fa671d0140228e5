"""A socket before the engine's that can be cut: for the kubelet the engine is away, for everybody else it is not."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

ENGINE_SOCKET = "/var/run/docker.sock"


class EngineProxy:
    """Relays bytes; ``cut`` drops every connection and refuses new ones until ``restore``. ``lose`` drops the answers to requests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Of what requests the next answer is lost: patterns of their first lines. Those that were are in ``lost``.
        self.lose: list[str] = []
        self.lost: list[str] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    async def restore(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self.path)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_writer = None
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(ENGINE_SOCKET)
            asked: list[str] = []
            await asyncio.gather(self._pump_up(reader, up_writer, asked), self._pump_down(up_reader, writer, asked))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, up_writer):
                if end is not None:
                    end.close()

    async def _pump_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[str]) -> None:
        while data := await reader.read(1 << 16):
            line = data.partition(b"\r\n")[0].decode(errors="replace")
            found = next((pattern for pattern in self.lose if re.search(pattern, line)), None)
            if found is not None:
                self.lose.remove(found)
                asked.append(found)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def _pump_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[str]) -> None:
        while data := await reader.read(1 << 16):
            if asked:
                # The engine has done it, and nobody hears of it.
                self.lost += asked
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        writer.write_eof()

"""Exec and attach at the engine: it answers with a URL, where Kubernetes' streams are spoken over SPDY/3.1.

SPDY, not WebSocket: there, input cannot be ended without ending the connection before its fifth protocol, which engines came to late.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from knarr.service import endings
from knarr.service.spdy.errors import ProtocolViolation, StreamClosed
from knarr.service.spdy.session import Session as SpdySession
from knarr.service.spdy.session import Stream
from knarr.service.tasks import cancel
from knarr.service.tls import unverified_context
from services.kubelet.runtime.port import STDERR, STDOUT, RuntimeFailure, RuntimeUnavailable, Session

PROTOCOL = "v4.channel.k8s.io"
CONNECT_SECONDS = 30.0
READ_BYTES = 1 << 16


@dataclass(slots=True)
class Wire:
    """The connection after its upgrade."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> bytes:
        try:
            return await self.reader.read(READ_BYTES)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()


async def connect(url: str, *, stdin: bool, tty: bool) -> StreamedSession:
    """Raises RuntimeFailure, or RuntimeUnavailable where nobody answers there."""
    where = urlsplit(url)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            wire = await _upgraded(where.hostname or "", where.port or 80, f"{where.path}?{where.query}", secure=where.scheme == "https")
            session = StreamedSession(wire)
            try:
                await session.open(stdin=stdin, tty=tty)
            except BaseException:
                await session.close()
                raise
            return session
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise RuntimeUnavailable(f"the container runtime's streams at {where.netloc} do not answer: {error or 'timed out'}") from error


async def _upgraded(host: str, port: int, path: str, *, secure: bool) -> Wire:
    # The engine shows a certificate of its own making; its URL came by its socket and holds a secret that is asked for once.
    reader, writer = await asyncio.open_connection(host, port, ssl=unverified_context() if secure else None)
    try:
        head = (
            f"POST {path.rstrip('?')} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            f"X-Stream-Protocol-Version: {PROTOCOL}\r\nContent-Length: 0\r\n\r\n"
        )
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        status = answer.split(b" ", 2)[1:2]
        if status != [b"101"]:
            words = await _rest(reader) or answer.split(b"\r\n", 1)[0].decode(errors="replace")
            raise RuntimeFailure(f"the container runtime does not open the streams: {words}")
    except BaseException:
        writer.close()
        raise
    return Wire(reader, writer)


async def _rest(reader: asyncio.StreamReader) -> str:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            return (await reader.read(READ_BYTES)).decode(errors="replace").strip()
    return ""


class StreamedSession(Session):
    """A process one is connected to by the engine's streams."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._spdy = SpdySession(wire, lambda stream: None, client=True)
        self._running = asyncio.create_task(self._run(), name="kubelet/streams")
        # One piece is waiting at most; what else comes waits in its stream, which is bounded.
        self._output: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(1)
        self._pumps: list[asyncio.Task[None]] = []
        self._error: Stream | None = None
        self._stdin: Stream | None = None
        self._sizes: Stream | None = None

    async def open(self, *, stdin: bool, tty: bool) -> None:
        """Opens the streams that the engine waits for, the error stream first."""
        self._error = await self._opened("error")
        if stdin:
            self._stdin = await self._opened("stdin")
        outputs = {STDOUT: await self._opened("stdout")}
        if tty:
            self._sizes = await self._opened("resize")
        else:
            outputs[STDERR] = await self._opened("stderr")
        self._pumps = [asyncio.create_task(self._pump(number, stream)) for number, stream in outputs.items()]

    async def _opened(self, kind: str) -> Stream:
        return await self._spdy.open({"streamType": kind})

    async def _run(self) -> None:
        # Whoever reads hears the end of it.
        with suppress(ProtocolViolation, OSError):
            await self._spdy.run()

    async def _pump(self, number: int, stream: Stream) -> None:
        while data := await stream.read():
            await self._output.put((number, data))

    async def read(self) -> tuple[int, bytes] | None:
        while self._output.empty():
            pumping = [pump for pump in self._pumps if not pump.done()]
            if not pumping:
                break
            getting = asyncio.create_task(self._output.get())
            try:
                await asyncio.wait({getting, *pumping}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    return getting.result()
            finally:
                await cancel([getting])
        return self._output.get_nowait() if not self._output.empty() else None

    async def write(self, data: bytes) -> None:
        if self._stdin is None:
            return
        try:
            await self._stdin.write(data)
        except (StreamClosed, OSError) as error:
            raise RuntimeFailure(str(error)) from error

    async def close_stdin(self) -> None:
        if self._stdin is not None:
            with suppress(OSError):
                await self._stdin.close()

    async def resize(self, width: int, height: int) -> None:
        if self._sizes is not None:
            with suppress(StreamClosed, OSError):
                await self._sizes.write(json.dumps({"Width": width, "Height": height}).encode())

    async def exit_code(self) -> int:
        """Raises RuntimeFailure where the engine could not run the command, or its connection broke."""
        told = b""
        while self._error is not None and (data := await self._error.read()):
            told += data
        return exit_code_of(told)

    async def close(self) -> None:
        await cancel(self._pumps)
        if not self._running.done():
            # An engine whose streams just break off may keep what copies to them, and their files, as long as it lives.
            await self._spdy.leave(self._running)
        await cancel([self._running])
        await endings.close(self._wire.writer)


def exit_code_of(told: bytes) -> int:
    """What the error stream says, a Status in JSON. Pure. Raises RuntimeFailure for one that tells of no exit code."""
    try:
        status: Any = json.loads(told)
        if status["status"] == "Success":
            return 0
        causes = (status.get("details") or {}).get("causes") or []
        codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
        if status.get("reason") == "NonZeroExitCode" and codes:
            return int(codes[0])
        # Whoever tells it on says so again.
        words = str(status.get("message") or "the container runtime gave no reason").removeprefix("Internal error occurred: ")
    except (ValueError, KeyError, TypeError, AttributeError):
        words = told.decode(errors="replace") or "the connection to the container runtime broke"
    raise RuntimeFailure(words)

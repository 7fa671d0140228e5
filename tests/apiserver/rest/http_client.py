"""A plain HTTP/1.1 client for tests: exact bytes, one connection, nothing hidden."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

TIMEOUT_SECONDS = 10.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""
    warnings: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class HttpClient:
    """``token`` empty sends no Authorization header."""

    def __init__(self, port: int, context: ssl.SSLContext | None, token: str = "") -> None:
        self._port = port
        self._context = context
        self._token = token
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    @property
    def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection, for what is no HTTP any more."""
        assert self._writer is not None
        return self._reader, self._writer

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)

    async def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.transport.abort()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def send(self, method: str, path: str, body: bytes | dict[str, Any] | None = None, **headers: str) -> None:
        """Writes a request; header names are given with underscores."""
        assert self._writer is not None
        data = orjson.dumps(body) if isinstance(body, dict) else body or b""
        lines = {"host": "localhost", "content-length": str(len(data))}
        if self._token:
            lines["authorization"] = f"Bearer {self._token}"
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value) + "\r\n"
        self._writer.write(head.encode() + data)

    def stop_reading(self) -> None:
        """Leaves everything that comes in the kernel's buffer."""
        assert self._writer is not None
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def start_reading(self) -> None:
        """Takes what was left there."""
        assert self._writer is not None
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def head(self) -> Answer:
        """Reads the status line and headers of an answer."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in head[1:] if line)]
        return Answer(int(head[0].split()[1]), dict(pairs), warnings=[value for name, value in pairs if name == "warning"])

    async def chunk(self) -> bytes:
        """One chunk of a chunked body; empty at its end."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            return (await self._reader.readexactly(size + 2))[:-2]

    async def at_end(self) -> bool:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self._reader.read(1) == b""

    async def request(self, method: str, path: str, body: bytes | dict[str, Any] | None = None, **headers: str) -> Answer:
        await self.send(method, path, body, **headers)
        return await self.answer()

    async def answer(self) -> Answer:
        """Reads a whole answer."""
        answer = await self.head()
        if answer.headers.get("transfer-encoding") == "chunked":
            while chunk := await self.chunk():
                answer.body += chunk
        elif answer.status not in (204, 304):
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer.body = await self._reader.readexactly(int(answer.headers["content-length"]))
        return answer

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, None, **headers)

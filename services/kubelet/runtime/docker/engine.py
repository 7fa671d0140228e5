"""The Docker Engine API over HTTP: requests, streams and hijacked connections. It knows no pods."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from knarr.client.http import open_session
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable

API_VERSION = "v1.41"
CONNECT_SECONDS = 2.0
CHUNK_BYTES = 1 << 16
HEAD_LIMIT_BYTES = 1 << 16

Params = Mapping[str, str | int]


class EngineError(RuntimeFailure):
    """The engine answered with an error status; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineNotFound(EngineError):
    """404: what is asked about, or something that it needs, is not there."""


class EngineConflict(EngineError):
    """409: the name is taken, or what is there is in the wrong state."""


def engine_error(status: int, message: str) -> EngineError:
    """The error of an answer, by its status."""
    return {404: EngineNotFound, 409: EngineConflict}.get(status, EngineError)(status, message)


class Engine:
    """One engine. ``url`` is ``unix://path`` or ``tcp://host:port``. Raises EngineError and RuntimeUnavailable.

    Each request has a connection of its own: an engine that is ending takes no new ones, but would go
    on to answer on old ones, and what it starts then it neither ends nor remembers well.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self.url = url
        scheme, _, self._address = url.partition("://")
        if scheme not in ("unix", "tcp"):
            raise ValueError(f"engine address {url!r}: expected unix://path or tcp://host:port")
        self._unix = scheme == "unix"
        self._base = f"http://{'localhost' if self._unix else self._address}/{API_VERSION}"
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """The decoded JSON answer; None when there is none. ``data`` is a raw body instead of a JSON one."""
        timeout = aiohttp.ClientTimeout(total=timeout_seconds or self._timeout_seconds, sock_connect=CONNECT_SECONDS)
        async with self._open(method, path, params, body, data, headers, timeout) as response:
            payload = await response.read()
        return json.loads(payload) if payload.lstrip()[:1] in (b"{", b"[") and b"\n{" not in payload else payload or None

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, params: Params | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come; leaving the block closes the connection."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        async with self._open(method, path, params, None, None, headers, timeout) as response:
            yield self._chunks(response)

    async def hijack(self, path: str, body: Any, params: Params | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of one's own that the engine has turned into a raw stream."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await self._connect()
        except (OSError, TimeoutError) as error:
            raise self._unavailable(error) from error
        payload = json.dumps(body).encode()
        target = f"/{API_VERSION}/{path}" + (f"?{urlencode(params)}" if params else "")
        head = (
            f"POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        try:
            writer.write(head.encode() + payload)
            await writer.drain()
            async with asyncio.timeout(self._timeout_seconds):
                answer = await reader.readuntil(b"\r\n\r\n")
                status = int(answer.split(b" ", 2)[1])
                if status not in (101, 200):
                    raise engine_error(status, _message(await reader.read(HEAD_LIMIT_BYTES)))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            writer.close()
            raise self._unavailable(error) from error
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._unix:
            return await asyncio.open_unix_connection(self._address)
        host, _, port = self._address.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        params: Params | None,
        body: Any,
        data: bytes | None,
        headers: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            connector = (
                aiohttp.UnixConnector(self._address, limit=0, force_close=True)
                if self._unix
                else aiohttp.TCPConnector(limit=0, force_close=True)
            )
            self._session = open_session(connector=connector)
        content = io.BytesIO(data) if data is not None else None
        try:
            async with self._session.request(
                method, f"{self._base}/{path}", params=params, json=body, data=content, headers=headers, timeout=timeout
            ) as response:
                if response.status >= 400:
                    raise engine_error(response.status, _message(await response.read()))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unavailable(error) from error

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> RuntimeUnavailable:
        detail = str(error) or type(error).__name__
        return RuntimeUnavailable(f"Cannot connect to the Docker daemon at {self.url}: {detail}")


def quoted(reference: str) -> str:
    """A reference or id as one part of a path."""
    return quote(reference, safe="/:@")


def _message(payload: bytes) -> str:
    text = payload.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text or "the engine gave no reason"

"""The Docker Engine API over HTTP: requests, streams and hijacked connections. It knows no pods."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

from services.kubelet.runtime.docker.exchange import Exchange
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable

API_VERSION = "v1.41"
CONNECT_SECONDS = 2.0
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
        self._timeout_seconds = timeout_seconds
        self._exchanges: set[Exchange] = set()

    async def close(self) -> None:
        """Ends what is under way: whoever waits for it is told that the engine is not available."""
        for exchange in tuple(self._exchanges):
            await exchange.close()

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
        given = dict(headers or {})
        if body is not None:
            data = json.dumps(body).encode()
            given["Content-Type"] = "application/json"
        try:
            async with asyncio.timeout(timeout_seconds or self._timeout_seconds), self._open(method, path, params, data, given) as exchange:
                payload = await exchange.body()
        except TimeoutError as error:
            raise self._unavailable(error) from error
        return json.loads(payload) if payload.lstrip()[:1] in (b"{", b"[") and b"\n{" not in payload else payload or None

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, params: Params | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come; leaving the block closes the connection."""
        async with self._open(method, path, params, None, headers or {}) as exchange:
            yield self._chunks(exchange)

    async def hijack(self, path: str, body: Any, params: Params | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of one's own that the engine has turned into a raw stream."""
        reader, writer = await self._connect()
        payload = json.dumps(body).encode()
        head = (
            f"POST {_target(path, params)} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
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
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._unix:
                    return await asyncio.open_unix_connection(self._address)
                host, _, port = self._address.rpartition(":")
                return await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError) as error:
            raise self._unavailable(error) from error

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, params: Params | None, data: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[Exchange]:
        exchange = Exchange(*await self._connect())
        self._exchanges.add(exchange)
        try:
            exchange.send(method, _target(path, params), "localhost" if self._unix else self._address, headers, data)
            if (status := await exchange.status()) >= 400:
                raise engine_error(status, _message(await exchange.body()))
            yield exchange
        except OSError as error:
            raise self._unavailable(error) from error
        finally:
            self._exchanges.discard(exchange)
            await exchange.close()

    async def _chunks(self, exchange: Exchange) -> AsyncIterator[bytes]:
        try:
            async for piece in exchange.pieces():
                yield piece
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> RuntimeUnavailable:
        detail = str(error) or type(error).__name__
        return RuntimeUnavailable(f"Cannot connect to the Docker daemon at {self.url}: {detail}")


def _target(path: str, params: Params | None) -> str:
    return f"/{API_VERSION}/{path}" + (f"?{urlencode(params)}" if params else "")


def quoted(reference: str) -> str:
    """A reference or id as one part of a path."""
    return quote(reference, safe="/:@")


def _message(payload: bytes) -> str:
    text = payload.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text or "the engine gave no reason"

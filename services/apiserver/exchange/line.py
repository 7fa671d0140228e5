"""A connection to where a request is passed on to: bytes both ways, plain or in TLS."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar

from knarr.service.tls import unverified_context
from services.apiserver.ways import Connect

T = TypeVar("T")

# What is written and not taken yet: pieces of up to 64 KiB.
QUEUE = 4
READ_BYTES = 64 * 1024


class Trust(NamedTuple):
    """Whose certificate is taken, and what is shown; ``name`` is whom it is to name."""

    context: ssl.SSLContext
    name: str


class Line(Protocol):
    async def read(self) -> bytes:
        """The next bytes; empty at the end. Raises StatusError, OSError."""
        ...

    async def write(self, data: bytes) -> None:
        """Waits while the other side does not read."""
        ...

    async def close(self) -> None: ...


async def open_line(connect: Connect, scheme: str, trust: Trust | None = None) -> Line:
    """Raises StatusError where the other side cannot be reached, OSError where it speaks no TLS or is not whom ``trust`` knows."""
    line = PlainLine(connect)
    if scheme != "https":
        return line
    secured = TlsLine(line, trust)
    try:
        await secured.handshake()
    except BaseException:
        await line.close()
        raise
    return secured


class PlainLine:
    def __init__(self, connect: Connect) -> None:
        self._said: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        self._answers = connect(self._pieces())

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        while True:
            yield await self._said.get()

    async def read(self) -> bytes:
        return await anext(self._answers, b"")

    async def write(self, data: bytes) -> None:
        await self._said.put(data)

    async def close(self) -> None:
        if isinstance(self._answers, AsyncGenerator):
            # One that is being read just now is closed by whoever reads it, who was cancelled.
            with suppress(RuntimeError):
                await self._answers.aclose()


class TlsLine:
    """TLS over another line. As in Kubernetes nobody asks whose certificate it is unless there is somebody to trust: the address is all
    that is known of a pod."""

    def __init__(self, line: PlainLine, trust: Trust | None = None) -> None:
        self._line = line
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        context, name = trust or (unverified_context(), None)
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=name)

    async def handshake(self) -> None:
        await self._do(self._tls.do_handshake)

    async def read(self) -> bytes:
        try:
            return await self._do(functools.partial(self._tls.read, READ_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def write(self, data: bytes) -> None:
        await self._do(functools.partial(self._tls.write, data))

    async def _do(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._send()
                if data := await self._line.read():
                    self._received.write(data)
                else:
                    self._received.write_eof()
            else:
                await self._send()
                return result

    async def _send(self) -> None:
        if self._to_send.pending:
            await self._line.write(self._to_send.read())

    async def close(self) -> None:
        await self._line.close()


# OpenSSL's numbers of what is wrong with a certificate, in the words of Go's clients.
_UNTRUSTED = {
    9: "x509: certificate has expired or is not yet valid",
    10: "x509: certificate has expired or is not yet valid",
    18: "x509: certificate signed by unknown authority",
    19: "x509: certificate signed by unknown authority",
    20: "x509: certificate signed by unknown authority",
    21: "x509: certificate signed by unknown authority",
    26: "x509: certificate specifies an incompatible key usage",
}


def untrusted(error: ssl.SSLCertVerificationError) -> str:
    """Why a certificate is not taken."""
    return _UNTRUSTED.get(error.verify_code) or f"x509: {error.verify_message}"

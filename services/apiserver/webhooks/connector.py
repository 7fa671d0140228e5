"""Connections of aiohttp that go where a Service's endpoints are, whatever the way there is."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from knarr.machinery.errors import StatusError
from knarr.service.tasks import cancel
from services.apiserver.ways import Connect

READ_BYTES = 64 * 1024
# In which a way ends whose other side is gone.
END_SECONDS = 1.0


class ServiceConnector(aiohttp.BaseConnector):
    """Keeps connections and uses them again, as aiohttp does; only how one is made is told here.

    ``way_to``, given the host and the port of a request, answers a way for one connection; it raises StatusError.
    """

    allowed_protocol_schema_set = frozenset({"https"})

    def __init__(self, way_to: Callable[[str, int], Connect], **options: Any) -> None:
        super().__init__(**options)
        self._way_to = way_to
        self._pumps: set[asyncio.Task[None]] = set()

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        """aiohttp's place for other kinds of connections. TLS is spoken over a pair of sockets, of which the way has the other one."""
        host = req.url.host
        way = self._way_to(host, req.url.port)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        pump = asyncio.create_task(_pump(theirs, way), name=f"webhooks/connection to {host}")
        self._pumps.add(pump)
        pump.add_done_callback(self._ended)
        try:
            _, protocol = await self._loop.create_unix_connection(self._factory, sock=ours, ssl=req.ssl, server_hostname=host)
        except OSError as error:
            ours.close()
            await asyncio.wait({pump}, timeout=END_SECONDS)
            if pump.done() and not pump.cancelled() and (refusal := pump.exception()) is not None:
                # What kept the way from being made says more than that it ended.
                raise refusal from error
            pump.cancel()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
            if isinstance(error, ssl.SSLError):
                raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
            raise
        except BaseException:
            ours.close()
            pump.cancel()
            raise
        return protocol

    def _ended(self, pump: asyncio.Task[None]) -> None:
        self._pumps.discard(pump)
        # Said to whoever made the connection; a way that ends later is a connection that ends.
        _ = pump.cancelled() or pump.exception()

    async def end(self) -> None:
        """Closes all connections, and waits until nothing of them is left."""
        await self.close()
        await cancel(list(self._pumps))


async def _pump(end: socket.socket, way: Connect) -> None:
    """Passes on what is said both ways, until one side ends. Raises what the way raises before it has said anything."""
    pump = asyncio.current_task()
    assert pump is not None
    reader, writer = await asyncio.open_unix_connection(sock=end)
    answers, heard = way(_said(reader, pump)), False
    try:
        async for piece in answers:
            heard = True
            writer.write(piece)
            await writer.drain()
    except (StatusError, OSError):
        if not heard:
            raise
    finally:
        with suppress(StatusError, OSError, RuntimeError):
            await answers.aclose()  # type: ignore[attr-defined]
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _said(reader: asyncio.StreamReader, pump: asyncio.Task[None]) -> AsyncIterator[bytes]:
    with suppress(OSError):
        while piece := await reader.read(READ_BYTES):
            yield piece
    # Nobody listens any more.
    pump.cancel()

"""One port for gRPC and HTTP: who offers HTTP/2 alone is led to the gRPC server, all others are answered here.

gRPC's server takes no connections that somebody else has accepted. So it listens at an address that this process alone is told, on this
machine only, and bytes are passed on to it and back as they are: its TLS, and who is known there, are its own as before.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress

from knarr.service.descriptors import raise_limit
from knarr.service.presence import keep_asking
from knarr.service.tasks import cancel
from knarr.service.tls import ServerContext
from knarr.service.web.hello import MOST_BYTES, Kind, Told, told_by
from knarr.service.web.message import WebFace
from knarr.service.web.protocol import WebProtocol

log = logging.getLogger(__name__)

BACKLOG = 1024
# For the first bytes of a connection, and for its TLS.
HELLO_SECONDS, HANDSHAKE_SECONDS = 10.0, 15.0
# How long a part of a hello waits for the rest, at first, and at most: who never sends it must not keep us looking.
REST_SECONDS, MOST_REST_SECONDS = 0.02, 1.0
# Connections that have not said what they speak, and those that speak HTTP. gRPC's own bound is its server's.
MAX_UNDECIDED, MAX_WEB, SHARE = 256, 1024, 32
# After an accept that failed for want of descriptors.
PAUSE_SECONDS = 0.5
# What one side has written and the other has not taken.
UNREAD_BYTES = 256 * 1024
LINGER_SECONDS = 30.0


class SharedPort:
    """``grpc`` is the abstract name of the Unix socket at which the gRPC server listens."""

    def __init__(self, grpc: str, face: WebFace, context: ServerContext) -> None:
        self._grpc, self._face, self._context = grpc, face, context
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        # In the order of their coming.
        self._undecided: dict[asyncio.Task[None], None] = {}
        self._web: dict[WebProtocol, None] = {}
        self._relays: set[_Side] = set()
        self._max_web = min(MAX_WEB, raise_limit() // SHARE)

    async def start(self, listen: str) -> int:
        """Listens at ``host:port``; answers the port. Raises OSError where it cannot."""
        host, _, port = listen.rpartition(":")
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_asking(listener)
        except BaseException:
            listener.close()
            raise
        self._listeners.append(listener)
        self._accepting.append(asyncio.create_task(self._accept(listener), name="shared port"))
        bound: int = listener.getsockname()[1]
        return bound

    async def close_door(self) -> None:
        """No new connections, and no new requests on those that speak HTTP."""
        await cancel([*self._accepting, *self._undecided])
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in list(self._web):
            connection.stop()

    async def stop(self, grace_seconds: float) -> None:
        """Ends every connection; requests that run get so long. May be called twice."""
        await self.close_door()
        running = [connection.task for connection in self._web]
        if running:
            await asyncio.wait(running, timeout=grace_seconds)
        for connection in list(self._web):
            connection.transport.abort()
        for side in list(self._relays):
            side.abort()
        await cancel(running)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("a connection was not accepted", extra={"error": str(error)})
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if len(self._undecided) >= MAX_UNDECIDED:
                next(iter(self._undecided)).cancel()
            task = asyncio.create_task(self._lead(connection), name="hello")
            self._undecided[task] = None
            task.add_done_callback(lambda done: self._undecided.pop(done, None))

    async def _lead(self, connection: socket.socket) -> None:
        """Finds out what a connection speaks and leads it there."""
        taken = False
        try:
            connection.setblocking(False)
            async with asyncio.timeout(HELLO_SECONDS):
                told = await _hello(connection)
            if told is None:
                return
            if told.kind is Kind.GRPC:
                taken = True
                await self._to_grpc(connection)
            elif told.secured:
                taken = True
                await self._to_web(connection)
            else:
                with suppress(OSError):
                    # Closed over what was not read, it would be answered by a reset alone.
                    connection.recv(MOST_BYTES)
                    connection.send(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
        except (OSError, TimeoutError) as error:
            log.debug("a connection ended before it began", extra={"error": str(error)})
        except Exception:
            log.exception("a connection was not led anywhere")
        finally:
            if not taken:
                connection.close()

    async def _to_web(self, connection: socket.socket) -> None:
        if len(self._web) >= self._max_web and not self._make_room():
            log.warning("a connection is turned away: there are too many", extra={"connections": len(self._web)})
            connection.close()
            return
        loop = asyncio.get_running_loop()
        protocol = WebProtocol(self._face, lambda ended: self._web.pop(ended, None))
        try:
            await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context.latest(), ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except BaseException:
            connection.close()
            raise
        if not protocol.transport.is_closing():
            self._web[protocol] = None

    def _make_room(self) -> bool:
        """Ends a connection that waits for nothing, one of somebody unknown before others: a stranger who comes often enough would keep all
        the places. Answers whether there was one."""
        idle = [connection for connection in self._web if connection.idle]
        chosen = next((connection for connection in idle if not connection.known), idle[0] if idle else None)
        if chosen is None:
            return False
        del self._web[chosen]
        chosen.transport.abort()
        return True

    async def _to_grpc(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        within = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        within.setblocking(False)
        outer, inner = _Side(self._relays), _Side(self._relays)
        outer.other, inner.other = inner, outer
        try:
            await loop.sock_connect(within, f"\0{self._grpc}")
            await loop.create_unix_connection(lambda: inner, sock=within)
            await loop.connect_accepted_socket(lambda: outer, connection)
        except BaseException:
            inner.abort()
            within.close()
            connection.close()
            raise


async def _hello(connection: socket.socket) -> Told | None:
    """Looks at the first bytes and leaves them there; None where the client is gone."""
    await _readable(connection)
    seen, rests = 0, _rests(REST_SECONDS, MOST_REST_SECONDS)
    while True:
        begin = connection.recv(MOST_BYTES, socket.MSG_PEEK)
        if not begin:
            return None
        if len(begin) > seen and (told := told_by(begin)) is not None:
            return told
        # What is there stays readable, so the rest cannot be waited for as such.
        await asyncio.sleep(next(rests))
        seen = len(begin)


def _rests(first: float, most: float) -> Iterator[float]:
    """Each twice the last, without end."""
    pause = first
    while True:
        yield pause
        pause = min(2 * pause, most)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()

    def tell() -> None:
        if not arrived.done():
            arrived.set_result(None)

    loop.add_reader(connection.fileno(), tell)
    try:
        await arrived
    finally:
        loop.remove_reader(connection.fileno())


class _Side(asyncio.Protocol):
    """One side of a connection that is passed on; ``other`` is where what comes from it goes."""

    other: _Side

    def __init__(self, relays: set[_Side]) -> None:
        self._relays = relays
        self._transport: asyncio.Transport | None = None
        # What came before the other side was there.
        self._early: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._relays.add(self)
        transport.set_write_buffer_limits(high=UNREAD_BYTES)
        for data in self.other._early:
            transport.write(data)
        self.other._early.clear()
        if self.other._ended:
            transport.close()

    def data_received(self, data: bytes) -> None:
        to = self.other._transport
        if to is None:
            self._early.append(data)
        else:
            to.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._relays.discard(self)
        to = self.other._transport
        if to is not None:
            # What was said before the end is still written, to who reads it.
            to.close()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, to.abort)

    def pause_writing(self) -> None:
        if self.other._transport is not None:
            self.other._transport.pause_reading()

    def resume_writing(self) -> None:
        to = self.other._transport
        if to is not None and not to.is_closing():
            to.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

"""DNS over UDP: one socket, drained of many datagrams each time it can be read."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable

from services.dns.counters import Counters
from services.dns.query.responder import Responder

log = logging.getLogger(__name__)

# Read at a stretch before others in the event loop have their turn.
BATCH = 64
MAX_QUERY_BYTES = 4096
BUFFER_BYTES = 4 * 1024 * 1024
# Queries that wait for others at once; what comes beyond is dropped, the client asks again.
MAX_WAITING = 2000


class UdpServer:
    """Serves one address."""

    def __init__(self, responder: Responder, counters: Counters) -> None:
        self._responder = responder
        self._ready = responder.ready("udp")
        self._counters = counters
        self._socket: socket.socket | None = None
        self._waiting: set[asyncio.Task[None]] = set()

    def start(self, address: str, port: int) -> int:
        """Binds and serves; answers the port. Raises OSError."""
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                made.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
            made.bind((address, port))
        except OSError:
            made.close()
            raise
        self._socket = made
        asyncio.get_running_loop().add_reader(made, self._read, made)
        return int(made.getsockname()[1])

    def _read(self, sock: socket.socket) -> None:
        receive, send, find, counters = sock.recvfrom, sock.sendto, self._ready.find, self._counters
        for _ in range(BATCH):
            try:
                query, peer = receive(MAX_QUERY_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # An ICMP answer to something sent before; it says nothing of what comes next.
                log.debug("receiving", extra={"error": str(error)})
                continue
            counters.udp += 1
            answer = find(query)
            if answer is None:
                self._make(sock, query, peer)
                continue
            counters.ready_hits += 1
            try:
                send(answer, peer)
            except OSError as error:
                self._unsent(error)

    def _make(self, sock: socket.socket, query: bytes, peer: tuple[str, int]) -> None:
        made = self._responder.answer(query, "udp")
        if isinstance(made, bytes):
            self._send(sock, made, peer)
        elif made is not None:
            if len(self._waiting) >= MAX_WAITING:
                self._counters.dropped += 1
                made.close()  # type: ignore[attr-defined]
                return
            task = asyncio.ensure_future(self._send_later(sock, made, peer))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _send_later(self, sock: socket.socket, made: Awaitable[bytes], peer: tuple[str, int]) -> None:
        self._send(sock, await made, peer)

    def _send(self, sock: socket.socket, answer: bytes, peer: tuple[str, int]) -> None:
        try:
            sock.sendto(answer, peer)
        except OSError as error:
            self._unsent(error)

    def _unsent(self, error: OSError) -> None:
        """A datagram may get lost; the client asks again."""
        self._counters.dropped += 1
        log.debug("an answer could not be sent", extra={"error": str(error)})

    async def close(self) -> None:
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        self._socket.close()
        self._socket = None

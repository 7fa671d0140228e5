"""One route in userspace: its listening sockets, whose turn it is, and the connections it carries."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import defaultdict

from services.proxy.datapath.userspace.relay import Side
from services.proxy.routing.table import Endpoint, Route

log = logging.getLogger(__name__)

BACKLOG = 4096
CONNECT_TIMEOUT_SECONDS = 5.0


def listen(address: str, port: int) -> socket.socket:
    """A listening TCP socket; OSError when the address is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


class Balancer:
    """Deals a route's connections out in turn. A connection that cannot be made goes to the next endpoint."""

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._endpoints: tuple[Endpoint, ...] = ()
        self._turn = 0
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._sides: dict[Endpoint, set[Side]] = defaultdict(set)
        self._drains: dict[Endpoint, asyncio.TimerHandle] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self.counts: dict[Endpoint, int] = defaultdict(int)

    async def update(self, route: Route, addresses: list[tuple[str, int]]) -> list[str]:
        """Puts a route in force on these local addresses; returns what could not be listened on, in words.

        Without endpoints nothing listens, so that a connection is refused.
        """
        gone = set(self._endpoints) - set(route.endpoints)
        if self._endpoints != route.endpoints:
            self._turn = 0
        self._endpoints = route.endpoints
        for endpoint in route.endpoints:
            if endpoint in self._drains:
                self._drains.pop(endpoint).cancel()
        for endpoint in gone:
            self._drain(endpoint)
        wanted = set(addresses) if route.endpoints else set()
        for address in self._servers.keys() - wanted:
            self._servers.pop(address).close()
        return [problem for address in sorted(wanted - self._servers.keys()) if (problem := await self._listen(*address))]

    async def _listen(self, address: str, port: int) -> str:
        try:
            sock = listen(address, port)
        except OSError as error:
            return f"cannot listen on {address}:{port}: {error.strerror}"
        self._servers[address, port] = await asyncio.get_running_loop().create_server(self._accepted, sock=sock)
        return ""

    def _accepted(self) -> Side:
        return _Front(self)

    def begin(self, front: Side) -> None:
        """Starts to carry a connection that was just accepted."""
        task = asyncio.create_task(self._connect(front), name="proxy/connect")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, front: Side) -> None:
        loop = asyncio.get_running_loop()
        assert front.transport is not None
        for _ in range(len(self._endpoints)):
            if not self._endpoints:
                break
            endpoint = self._endpoints[self._turn % len(self._endpoints)]
            self._turn += 1
            back = Side(lambda side, endpoint=endpoint: self._sides[endpoint].discard(side))  # type: ignore[misc]
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    await loop.create_connection(lambda back=back: back, endpoint.address, endpoint.port)  # type: ignore[misc]
            except OSError as error:
                log.info("endpoint does not answer", extra={"endpoint": f"{endpoint.address}:{endpoint.port}", "error": str(error)})
                continue
            self._carry(front, back, endpoint)
            return
        front.transport.abort()

    def _carry(self, front: Side, back: Side, endpoint: Endpoint) -> None:
        assert front.transport is not None and back.transport is not None
        if front.transport.is_closing():
            back.transport.abort()
            return
        self.counts[endpoint] += 1
        self._sides[endpoint].add(back)
        front.join(back)
        back.join(front)
        if endpoint not in self._endpoints and endpoint not in self._drains:
            self._drain(endpoint)

    def _drain(self, endpoint: Endpoint) -> None:
        if not self._sides.get(endpoint):
            self._end(endpoint)
            return
        self._drains[endpoint] = asyncio.get_running_loop().call_later(self._drain_seconds, self._end, endpoint)

    def _end(self, endpoint: Endpoint) -> None:
        self._drains.pop(endpoint, None)
        for side in list(self._sides.pop(endpoint, ())):
            side.abort()
        if endpoint not in self._endpoints:
            self.counts.pop(endpoint, None)

    async def close(self, *, drain: bool) -> None:
        """Stops listening; with ``drain`` open connections may go on for their time, else they end now."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        if drain:
            for endpoint in self._endpoints:
                self._drain(endpoint)
            self._endpoints = ()
            return
        for task in list(self._connecting):
            task.cancel()
        if self._connecting:
            await asyncio.wait(self._connecting)
        for handle in self._drains.values():
            handle.cancel()
        self._drains.clear()
        for endpoint in list(self._sides):
            self._end(endpoint)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to drain."""
        return not self._drains and not self._connecting


class _Front(Side):
    """The client's half."""

    __slots__ = ("_balancer",)

    def __init__(self, balancer: Balancer) -> None:
        super().__init__(lambda side: None)
        self._balancer = balancer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._balancer.begin(self)

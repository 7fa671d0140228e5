"""A TCP route in userspace: its listening sockets, and the way of each connection."""

from __future__ import annotations

import asyncio
import socket

from services.proxy.datapath.userspace.balancer import Balancer
from services.proxy.datapath.userspace.entry import Address
from services.proxy.datapath.userspace.frontend import Frontend, bound
from services.proxy.datapath.userspace.limits import Limits
from services.proxy.datapath.userspace.relay import Side
from services.proxy.routing.table import Endpoint, Route
from services.proxy.settings import ProxySettings

BACKLOG = 4096


class TcpFrontend(Frontend[asyncio.Server]):
    """Accepts connections and hands them to a balancer."""

    def __init__(self, route: Route, settings: ProxySettings, limits: Limits) -> None:
        super().__init__(route, settings, limits)
        self._balancer = Balancer(str(route.key), settings.drain_seconds, limits)

    async def _listen(self, address: Address) -> asyncio.Server:
        sock = bound(address, socket.SOCK_STREAM)
        try:
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        return await asyncio.get_running_loop().create_server(lambda: _Front(self, address), sock=sock)

    def _silence(self, listening: asyncio.Server) -> None:
        listening.close()

    def _endpoints_are(self, endpoints: set[Endpoint]) -> None:
        self._balancer.update(endpoints)

    def accept(self, front: _Front, address: Address) -> None:
        """Decides on a connection that was just made."""
        assert front.transport is not None
        client = own = ""
        if self._doors.by_client or self.route.affinity_seconds or self._limits.gate is not None:
            names = [front.transport.get_extra_info(name) for name in ("peername", "sockname")]
            if None in names:
                # It has gone already.
                front.transport.abort()
                return
            client, own = (name[0] for name in names)
        turns = self._turns(address, client, own)
        if turns is None or not self._limits.take(self.route.key):
            front.transport.abort()
            return
        front.admitted = True
        self._balancer.begin(front, turns, client, (own, address.port))

    def lost(self, front: _Front) -> None:
        if front.admitted:
            self._limits.give_back(self.route.key)

    @property
    def counts(self) -> dict[Endpoint, int]:
        return self._balancer.counts

    async def done(self) -> None:
        await self._balancer.done()

    @property
    def idle(self) -> bool:
        return self._balancer.idle

    async def close(self) -> None:
        self.free([])
        await self._balancer.close()


class _Front(Side):
    """The client's half."""

    __slots__ = ("_address", "_frontend", "admitted")

    def __init__(self, frontend: TcpFrontend, address: Address) -> None:
        super().__init__(lambda side: frontend.lost(self))
        self._frontend = frontend
        self._address = address
        self.admitted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._frontend.accept(self, self._address)

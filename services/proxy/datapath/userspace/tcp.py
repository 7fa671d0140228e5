"""A TCP route in userspace: its listening sockets, and the way of each connection."""

from __future__ import annotations

import socket
from functools import partial
from socket import SocketType

from services.proxy.datapath.userspace.balancer import Balancer
from services.proxy.datapath.userspace.entry import Address
from services.proxy.datapath.userspace.frontend import Frontend, bound
from services.proxy.datapath.userspace.limits import Limits
from services.proxy.datapath.userspace.poller import LISTENING, Poller
from services.proxy.routing.table import Endpoint, Route
from services.proxy.settings import ProxySettings

BACKLOG = 4096
# Others get their turn after so many clients of one socket.
CLIENTS_AT_ONCE = 64
# Where no descriptor is left, clients wait so long.
PAUSE_SECONDS = 0.1


class TcpFrontend(Frontend[socket.socket]):
    """Accepts connections and hands them to a balancer."""

    def __init__(self, route: Route, settings: ProxySettings, limits: Limits, poller: Poller) -> None:
        super().__init__(route, settings, limits)
        self._poller = poller
        self._balancer = Balancer(str(route.key), settings.drain_seconds, limits, poller, partial(limits.give_back, route.key))

    async def _listen(self, address: Address) -> socket.socket:
        sock = bound(address, socket.SOCK_STREAM)
        try:
            # What it accepts has it from here.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.listen(BACKLOG)
            self._poller.watch(sock, partial(self._knocked, address, sock), LISTENING)
        except OSError:
            sock.close()
            raise
        return sock

    def _silence(self, listening: socket.socket) -> None:
        self._poller.leave(listening)
        listening.close()

    def _endpoints_are(self, endpoints: set[Endpoint]) -> None:
        self._balancer.update(endpoints)

    def _knocked(self, address: Address, listening: socket.socket, events: int) -> None:
        """Accepts the clients that wait."""
        for _ in range(CLIENTS_AT_ONCE):
            try:
                # What socket.accept does, at a third of its price.
                descriptor, (client, _port) = listening._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except ConnectionError:
                # It has gone already.
                continue
            except OSError as error:
                self._limits.failed(str(self.route.key), error)
                self._poller.leave(listening)
                self._poller.loop.call_later(PAUSE_SECONDS, self._resume, address, listening)
                return
            self._accept(SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor), address, client)

    def _resume(self, address: Address, listening: socket.socket) -> None:
        if self._listening.get(address) is listening:
            self._poller.watch(listening, partial(self._knocked, address, listening), LISTENING)

    def _accept(self, front: SocketType, address: Address, client: str) -> None:
        """Decides on a connection that was just made."""
        own = ""
        if self._doors.by_client or self._limits.gate is not None:
            own = front.getsockname()[0]
        turns = self._turns(address, client, own)
        if turns is None or not self._limits.take(self.route.key):
            front.close()
            return
        self._balancer.begin(front, turns, client, (own, address.port))

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
        self._balancer.close()

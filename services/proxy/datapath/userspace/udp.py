"""A UDP route in userspace: a flow is a client's address and port; it keeps its endpoint until it has been quiet for a while.

Answers go out from the address that the client has asked, which the kernel tells with each datagram: at a NodePort that may be any of the
node's. A flow ends at once when its endpoint goes: the client's next datagram finds another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import OrderedDict, defaultdict
from dataclasses import dataclass

from services.proxy.datapath.userspace.entry import Address
from services.proxy.datapath.userspace.frontend import Frontend, bound
from services.proxy.datapath.userspace.limits import Limits
from services.proxy.routing.table import Endpoint, Route
from services.proxy.settings import ProxySettings

MAX_DATAGRAM = 65535
# Others get their turn after so many datagrams of one socket.
DATAGRAMS_AT_ONCE = 64
SWEEP_SECONDS = 5.0
PACKET_INFO = struct.Struct("=I4s4s")
IP_PKTINFO = 8
ANCILLARY_BYTES = socket.CMSG_SPACE(PACKET_INFO.size)

Client = tuple[str, int]


@dataclass(slots=True)
class _Flow:
    """One client's way to an endpoint. ``own`` is the address it asked."""

    key: tuple[Address, Client, str]
    listening: socket.socket
    upstream: socket.socket
    endpoint: Endpoint
    last: float


class UdpFrontend(Frontend[socket.socket]):
    """Carries datagrams there and back."""

    def __init__(self, route: Route, settings: ProxySettings, limits: Limits) -> None:
        super().__init__(route, settings, limits)
        self._idle_seconds = settings.udp_idle_seconds
        self._loop = asyncio.get_running_loop()
        # The one that was used last is at the end.
        self._flows: OrderedDict[tuple[Address, Client, str], _Flow] = OrderedDict()
        self._counts: dict[Endpoint, int] = defaultdict(int)
        self._sweeping: asyncio.TimerHandle | None = None

    async def _listen(self, address: Address) -> socket.socket:
        sock = bound(address, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._loop.add_reader(sock.fileno(), self._asked, address, sock)
        return sock

    def _silence(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening.fileno())
        for flow in [flow for flow in self._flows.values() if flow.listening is listening]:
            self._end(flow)
        listening.close()

    def _endpoints_are(self, endpoints: set[Endpoint]) -> None:
        for flow in [flow for flow in self._flows.values() if flow.endpoint not in endpoints]:
            self._end(flow)
        for endpoint in self._counts.keys() - endpoints:
            del self._counts[endpoint]

    def _asked(self, address: Address, listening: socket.socket) -> None:
        """Takes datagrams from clients."""
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                data, ancillary, _, client = listening.recvmsg(MAX_DATAGRAM, ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                # An earlier answer could not be delivered; the socket is fine.
                continue
            flow = self._flow(address, listening, client, _asked_address(ancillary, address.ip))
            if flow is None:
                continue
            try:
                flow.upstream.send(data)
            except BlockingIOError:
                continue
            except OSError:
                self._end(flow)

    def _flow(self, address: Address, listening: socket.socket, client: Client, own: str) -> _Flow | None:
        key = (address, client, own)
        flow = self._flows.get(key)
        if flow is not None:
            flow.last = self._loop.time()
            self._flows.move_to_end(key)
            return flow
        turns = self._turns(address, client[0], own)
        if turns is None:
            return None
        named = (own, address.port)
        endpoint = next((found for found in turns.candidates(client[0]) if self._limits.admits(client[0], named, found, "udp")), None)
        if endpoint is None or not self._room():
            return None
        try:
            upstream = _towards(endpoint)
        except OSError as error:
            self._limits.give_back(self.route.key)
            self._limits.failed(str(self.route.key), error)
            return None
        turns.took(client[0], endpoint)
        self._counts[endpoint] += 1
        flow = self._flows[key] = _Flow(key, listening, upstream, endpoint, self._loop.time())
        self._loop.add_reader(upstream.fileno(), self._answered, flow)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        return flow

    def _room(self) -> bool:
        """Makes room for one more, where needed by ending the flow that has been quiet longest."""
        if self._limits.take(self.route.key):
            return True
        if self._flows:
            self._end(next(iter(self._flows.values())))
        return self._limits.take(self.route.key)

    def _answered(self, flow: _Flow) -> None:
        """Takes datagrams from an endpoint."""
        _, client, own = flow.key
        from_own = [(socket.IPPROTO_IP, IP_PKTINFO, PACKET_INFO.pack(0, socket.inet_aton(own), bytes(4)))]
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                data = flow.upstream.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                # Nobody listens there: the client's next datagram finds another endpoint.
                self._end(flow)
                return
            flow.last = self._loop.time()
            self._flows.move_to_end(flow.key)
            with contextlib.suppress(OSError):
                flow.listening.sendmsg([data], from_own, 0, client)

    def _sweep(self) -> None:
        oldest = self._loop.time() - self._idle_seconds
        while self._flows and (flow := next(iter(self._flows.values()))).last < oldest:
            self._end(flow)
        self._sweeping = self._loop.call_later(SWEEP_SECONDS, self._sweep) if self._flows else None

    def _end(self, flow: _Flow) -> None:
        if self._flows.pop(flow.key, None) is None:
            return
        self._loop.remove_reader(flow.upstream.fileno())
        flow.upstream.close()
        self._limits.give_back(self.route.key)

    @property
    def counts(self) -> dict[Endpoint, int]:
        return self._counts

    async def done(self) -> None:
        """Returns at once: a flow has no end of its own."""

    @property
    def idle(self) -> bool:
        return not self._flows

    async def close(self) -> None:
        self.free([])
        if self._sweeping is not None:
            self._sweeping.cancel()


def _towards(endpoint: Endpoint) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect((endpoint.address, endpoint.port))
    except OSError:
        sock.close()
        raise
    return sock


def _asked_address(ancillary: list[tuple[int, int, bytes]], otherwise: str) -> str:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return socket.inet_ntoa(PACKET_INFO.unpack_from(data)[1])
    return otherwise

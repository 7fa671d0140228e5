"""What every route has in userspace, whatever its protocol: doors, the endpoints behind each, and sockets that come and go with them."""

from __future__ import annotations

import abc
import socket
from typing import Generic, TypeVar

from services.proxy.datapath.userspace.entry import Address, Doors, doors
from services.proxy.datapath.userspace.limits import Limits
from services.proxy.datapath.userspace.turns import Turns
from services.proxy.routing.table import Endpoint, Route
from services.proxy.settings import ProxySettings

Listening = TypeVar("Listening")


class Frontend(abc.ABC, Generic[Listening]):
    """Serves one route. Where there are no endpoints nothing listens, so that the kernel refuses."""

    def __init__(self, route: Route, settings: ProxySettings, limits: Limits) -> None:
        self.route = route
        self._pod_cidr = settings.pod_cidr
        self._limits = limits
        self._doors: Doors = doors(route, self._pod_cidr)
        self._everywhere, self._here = Turns(), Turns()
        self._listening: dict[Address, Listening] = {}

    async def update(self, route: Route, addresses: list[Address]) -> list[str]:
        """Puts a route in force at these addresses of the node; returns what could not be listened on, in words."""
        self.route = route
        self._doors = doors(route, self._pod_cidr)
        self._everywhere.update(route.endpoints, route.affinity_seconds)
        self._here.update(route.local_endpoints, route.affinity_seconds)
        self._endpoints_are({*route.endpoints, *route.local_endpoints})
        wanted = set(addresses)
        for address in self._listening.keys() - wanted:
            self._silence(self._listening.pop(address))
        problems = []
        for address in sorted(wanted - self._listening.keys()):
            try:
                self._listening[address] = await self._listen(address)
            except OSError as error:
                problems.append(f"cannot listen on {address.ip}:{address.port}: {error.strerror}")
        return problems

    def free(self, wanted: list[Address]) -> None:
        """Leaves addresses that are not among these to others."""
        for address in self._listening.keys() - set(wanted):
            self._silence(self._listening.pop(address))

    def _turns(self, address: Address, client: str, own: str) -> Turns | None:
        """The endpoints for a client; None: it is to be turned away."""
        local = self._doors.local_only(address.kind, client, own)
        turns = self._here if local else self._everywhere
        return turns if local is not None and turns.endpoints else None

    @abc.abstractmethod
    async def _listen(self, address: Address) -> Listening:
        """Opens a socket; OSError when the address is taken or not there."""

    @abc.abstractmethod
    def _silence(self, listening: Listening) -> None:
        """Closes it; what it has accepted goes on."""

    @abc.abstractmethod
    def _endpoints_are(self, endpoints: set[Endpoint]) -> None:
        """Begins to end what leads to other endpoints than these."""

    @property
    @abc.abstractmethod
    def counts(self) -> dict[Endpoint, int]:
        """Connections, or flows, to each endpoint so far."""

    @abc.abstractmethod
    async def done(self) -> None:
        """Waits until all that has an end of its own has come to it."""

    @property
    @abc.abstractmethod
    def idle(self) -> bool:
        """Whether nothing is left of what was to end."""

    def withdraw(self) -> None:
        """Stops listening; what is open goes on for its time."""
        self.free([])
        self._endpoints_are(set())

    def stop_listening(self) -> None:
        self.free([])

    @abc.abstractmethod
    async def close(self) -> None:
        """Ends all connections and flows now."""


def bound(address: Address, kind: socket.SocketKind) -> socket.socket:
    """A socket that does not block, bound; OSError when the address is taken or not there."""
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.ip, address.port))
    except OSError:
        sock.close()
        raise
    return sock

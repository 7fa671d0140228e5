"""An endpoint for one client: its candidates are tried one after the other until one takes the connection."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from socket import SocketType

from services.proxy.datapath.userspace.poller import READING_AND_WRITING, Poller
from services.proxy.routing.table import Endpoint

FAILED = select.EPOLLERR | select.EPOLLHUP


class Attempt:
    """Tries to connect. ``on_end`` gets the endpoint's socket and its events, or none when there is no endpoint left."""

    __slots__ = ("_candidates", "_on_end", "_on_failure", "_poller", "_sock", "client", "deadline", "endpoint", "front")

    endpoint: Endpoint

    def __init__(
        self,
        poller: Poller,
        front: SocketType,
        client: str,
        candidates: Iterator[Endpoint],
        on_end: Callable[[Attempt, SocketType | None, int], None],
        on_failure: Callable[[Attempt, OSError], None],
    ) -> None:
        self.front = front
        self.client = client
        # When the endpoint has to have answered; whoever watches the time sets it.
        self.deadline = 0.0
        self._poller = poller
        self._candidates = candidates
        self._on_end = on_end
        self._on_failure = on_failure
        self._sock: SocketType | None = None

    def go_on(self) -> None:
        """Tries the next endpoint."""
        for endpoint in self._candidates:
            self.endpoint = endpoint
            try:
                self._sock = _towards(endpoint)
            except OSError as error:
                self._on_failure(self, error)
                continue
            self._poller.watch(self._sock, self._answered, READING_AND_WRITING)
            return
        self._on_end(self, None, 0)

    def _answered(self, events: int) -> None:
        sock = self._sock
        assert sock is not None
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & FAILED else 0
        if number:
            self.give_up(OSError(number, os.strerror(number)))
        else:
            self._sock = None
            self._on_end(self, sock, events)

    def give_up(self, error: OSError) -> None:
        """Ends the try at this endpoint; the next one is tried."""
        self._drop()
        self._on_failure(self, error)
        self.go_on()

    def cancel(self) -> None:
        """Ends the attempt. The client's socket is left to the caller."""
        self._drop()

    def _drop(self) -> None:
        if self._sock is not None:
            self._poller.end(self._sock)
            self._sock = None


def _towards(endpoint: Endpoint) -> SocketType:
    """A socket on its way to an endpoint; OSError when the kernel refuses at once."""
    sock = SocketType(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = sock.connect_ex((endpoint.address, endpoint.port))
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))
    except OSError:
        sock.close()
        raise
    return sock

"""Whether a client is still there while nothing is read of it.

A process that takes no more of its input holds up its client, by not reading: whoever does not read hears no end either. So the kernel is
asked now and then, which knows that the other side has closed or reset the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from typing import Protocol

# How often is looked. What ends in the ordinary way does so by itself between two looks.
LOOK_SECONDS = 5.0
# The kernel asks a client of which nothing came for so long whether it is there, and gives it up after so many unanswered questions.
PROBE_SECONDS, PROBE_PAUSE_SECONDS, PROBES = 30, 10, 3
# States of TCP, in the kernel's numbers: it is over; and the other side says nothing more.
CLOSED, CLOSE_WAIT, LAST_ACK, CLOSING = 7, 8, 9, 11


class Client(Protocol):
    def has_left(self) -> bool:
        """Whether it has closed its side, though that was perhaps not heard."""

    def abort(self) -> None:
        """Drops the connection with whatever waits to be written to it."""


def keep_asking(listener: socket.socket) -> None:
    """Lets the kernel find out which clients are gone, of all connections that a listening socket accepts from now on."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, PROBE_SECONDS), (socket.TCP_KEEPINTVL, PROBE_PAUSE_SECONDS), (socket.TCP_KEEPCNT, PROBES)):
        listener.setsockopt(socket.IPPROTO_TCP, option, value)


def has_left(transport: asyncio.Transport) -> bool:
    """Whether nobody is at the other side. Without TLS, a client that says nothing more may listen still."""
    if transport.is_closing():
        return True
    state = _state(transport)
    return state == CLOSED or (state in (CLOSE_WAIT, LAST_ACK, CLOSING) and transport.get_extra_info("ssl_object") is not None)


def _state(transport: asyncio.Transport) -> int:
    """Of the connection; 0 where it is none of TCP."""
    found = transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    borrowed = socket.socket(found.family, socket.SOCK_STREAM, fileno=found.fileno())
    try:
        return borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return 0
    finally:
        borrowed.detach()


async def while_there(client: Client, work: Awaitable[None]) -> None:
    """Does the work, and gives it up where the client has left and it goes on nevertheless."""
    loop, limit = asyncio.get_running_loop(), asyncio.timeout(None)
    looking = loop.call_later(LOOK_SECONDS, lambda: look(False))

    def look(had_left: bool) -> None:
        nonlocal looking
        if had_left and not limit.expired():
            limit.reschedule(loop.time())
        else:
            looking = loop.call_later(LOOK_SECONDS, look, client.has_left())

    try:
        async with limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise
        client.abort()
    finally:
        looking.cancel()

"""TLS of an accepted connection, with what the loops' own keep to themselves: the connection below it.

So a connection is counted from its acceptance on, not from the end of a handshake that may never come; and whoever writes to a client
that does not read waits as soon as the connection takes no more: the loops' own let 64 KiB lie below TLS, and as much as is written above.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import ctypes
import mmap
from functools import cache
from ssl import SSLContext
from typing import Any

import uvloop.loop

from services.apiserver.rest.crowd import Crowd
from services.apiserver.rest.protocol import Protocol

# What may wait below TLS before whoever writes above waits too. Small answers that are written together leave together.
UNREAD_BYTES = 4 * 1024
# How long a client may take to begin with TLS; and to read what was written before its connection was closed.
HANDSHAKE_SECONDS, SHUTDOWN_SECONDS = 15.0, 30.0

_madvise = ctypes.CDLL(None, use_errno=True).madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def entrance(crowd: Crowd, context: SSLContext, protocol: Protocol) -> asyncio.BaseProtocol:
    """The protocol of a connection that the running loop accepts: TLS, and ``protocol`` within it once that is agreed on."""
    loop = asyncio.get_running_loop()
    made: asyncio.BaseProtocol = _kind(uvloop.loop.SSLProtocol if isinstance(loop, uvloop.Loop) else asyncio.sslproto.SSLProtocol)(
        crowd, loop, protocol, context, None, True, ssl_handshake_timeout=HANDSHAKE_SECONDS, ssl_shutdown_timeout=SHUTDOWN_SECONDS
    )
    return made


def _give_back(buffer: memoryview) -> None:
    """Returns the pages of a buffer that holds nothing yet to the system, until they are used.

    Each connection gets 256 KiB to read into and uses one page or two; but it gets them where the last handshake has worked.
    """
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    first, end = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE, (address + len(buffer)) // mmap.PAGESIZE * mmap.PAGESIZE
    _madvise(first, end - first, mmap.MADV_DONTNEED)


@cache
def _kind(base: Any) -> Any:
    """Each loop has a protocol of its own for TLS, which the other does not take; they are made and called alike."""

    class Entrance(base):
        def __init__(self, crowd: Crowd, loop: asyncio.AbstractEventLoop, within: Protocol, *arguments: Any, **options: Any) -> None:
            super().__init__(loop, within, *arguments, **options)
            self.crowd, self.within = crowd, within
            self.is_full = False

        def connection_made(self, transport: asyncio.Transport) -> None:
            transport.set_write_buffer_limits(high=UNREAD_BYTES)
            self.accepted = self.within.entered = transport
            self.crowd.enter(transport)
            _give_back(self.get_buffer(1))
            super().connection_made(transport)

        def connection_lost(self, error: Exception | None) -> None:
            self.crowd.leave(self.accepted)
            super().connection_lost(error)
            # They refer to one another, and would lie about until the collector comes.
            del self.within

        def pause_writing(self) -> None:
            super().pause_writing()
            self.is_full = True
            if self.within.transport is not None:
                self._get_app_transport().get_protocol().pause_writing()

        def resume_writing(self) -> None:
            self.is_full = False
            # Writes what waited, which may fill the connection again.
            super().resume_writing()
            if self.within.transport is not None and not self.is_full:
                self._get_app_transport().get_protocol().resume_writing()

    return Entrance

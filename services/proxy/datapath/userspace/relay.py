"""Relays one TCP connection: two protocols that hand each other what they read.

What a side reads is written to its peer's transport without a step of our own between. A side whose peer
cannot take more stops reading; a half-closed side half-closes the other; an error aborts both.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

WRITE_HIGH_BYTES = 256 * 1024
EARLY_BYTES = 64 * 1024
NO_LINGER = struct.pack("ii", 1, 0)


class Side(asyncio.Protocol):
    """One half of a relayed connection."""

    __slots__ = ("_early", "_eof", "_on_lost", "_paused", "data_received", "peer", "transport")

    def __init__(self, on_lost: Callable[[Side], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: Side | None = None
        self._on_lost = on_lost
        self._eof = False
        self._paused = False
        self._early: list[bytes] = []
        self.data_received: Callable[[bytes], None] = self._keep  # type: ignore[assignment]

    def _keep(self, data: bytes) -> None:
        """Keeps what comes before there is a peer; reads no further when it is much, since each pause costs two system calls."""
        self._early.append(data)
        if self.transport is not None and not self._paused and sum(map(len, self._early)) > EARLY_BYTES:
            self._paused = True
            self.transport.pause_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def join(self, peer: Side) -> None:
        """Hands what was and will be read here to ``peer``."""
        self.peer = peer
        assert peer.transport is not None
        for data in self._early:
            peer.transport.write(data)
        # What is read goes straight to the peer's transport; setting the protocol anew makes the transport look it up again.
        self.data_received = peer.transport.write
        if self.transport is not None:
            self.transport.set_protocol(self)
        self._early.clear()
        if self._eof:
            peer.transport.write_eof()
        elif self.transport is not None and self._paused:
            self._paused = False
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        self._eof = True
        peer = self.peer
        if peer is None:
            return True
        if peer.transport is None or peer._eof:
            return False
        if peer.transport.can_write_eof() and not peer.transport.is_closing():
            peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        peer = self.peer
        if peer is not None and peer.transport is not None and not peer.transport.is_closing():
            if exc is not None:
                reset(peer.transport)
            else:
                peer.transport.close()
        self._on_lost(self)

    def abort(self) -> None:
        """Ends the connection at once, on both sides."""
        for side in (self, self.peer):
            if side is not None and side.transport is not None:
                reset(side.transport)


def reset(transport: asyncio.Transport) -> None:
    """Ends a connection at once, so that the kernel keeps nothing of it: an orderly end would hold its port for a minute."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    transport.abort()

"""Relays one TCP connection: two sides that hand each other what they read.

What a side reads is sent to its peer in the same step. What the peer cannot take is kept, and the side reads no further until it is gone;
a half-closed side half-closes the other; an error resets both.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable
from socket import SocketType

from services.proxy.datapath.userspace.poller import BUFFER_BYTES, READING, READING_AND_WRITING, Poller

NO_LINGER = struct.pack("ii", 1, 0)
AT_ONCE = socket.MSG_DONTWAIT
# Nothing more will come, or it will not come: whoever reads on finds out which.
DEAD = select.EPOLLHUP | select.EPOLLERR
LAST = select.EPOLLRDHUP | DEAD
READABLE = select.EPOLLIN | LAST
WRITABLE = select.EPOLLOUT | DEAD
# All that there is to read, its end too.
ALL = select.EPOLLIN | select.EPOLLRDHUP


class Side:
    """One half of a relayed connection; without a peer it is over."""

    __slots__ = ("_buffer", "_on_end", "_over", "_poller", "_sock", "_unsent", "_writable_told", "peer")

    def __init__(self, poller: Poller, sock: SocketType, on_end: Callable[[Side], None] | None = None) -> None:
        """``on_end`` is called once, of one of the two sides."""
        self.peer: Side | None = None
        self._poller = poller
        self._buffer = poller.buffer
        self._sock = sock
        self._on_end = on_end
        # Nothing more comes from here.
        self._over = False
        # What this side could not take so far.
        self._unsent = b""
        # Whether the poller says when it can take more.
        self._writable_told = False

    def join(self, back: Side, events: int) -> None:
        """Starts to relay between a client, whose side this is, and an endpoint, whose socket is watched and has these events."""
        self.peer, back.peer = back, self
        self._poller.hand_over(back._sock, back.ready)
        back._writable_told = True
        # Mostly the client has said already what it wants.
        self.ready(select.EPOLLIN)
        if self.peer is not None:
            self._poller.watch(self._sock, self.ready, READING)
            back.ready(events)

    def ready(self, events: int) -> None:
        """Sends on what is there. A stream that gives less than asked for has no more, but perhaps its end."""
        if self._unsent and events & WRITABLE:
            self._flush()
        if not events & READABLE:
            return
        peer = self.peer
        while peer is not None and not self._over and not peer._unsent:
            try:
                count = self._sock.recv_into(self._buffer, BUFFER_BYTES, AT_ONCE)
            except BlockingIOError:
                return
            except OSError:
                self.abort()
                return
            if not count:
                self._over = True
                peer._finish()
                return
            try:
                sent = peer._sock.send(self._buffer[:count], AT_ONCE)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.abort()
                return
            if sent < count:
                peer._keep(self._buffer[sent:count])
                return
            if count == BUFFER_BYTES:
                # Others get their turn first.
                self._poller.loop.call_soon(self.ready, ALL)
                return
            if not events & LAST:
                return

    def _keep(self, data: memoryview) -> None:
        """Keeps what could not be taken, to send it when there is room again."""
        self._unsent = bytes(data)
        if not self._writable_told:
            self._writable_told = True
            self._poller.change(self._sock, READING_AND_WRITING)

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent, AT_ONCE) :]
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        peer = self.peer
        if peer is None or self._unsent:
            return
        if peer._over:
            self._finish()
        else:
            peer.ready(ALL)

    def _finish(self) -> None:
        """The other side is over: so is this one once it has all of it."""
        if self._unsent or self.peer is None:
            return
        if self._over and not self.peer._unsent:
            self._end()
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def abort(self) -> None:
        """Ends the connection at once, on both sides."""
        for side in (self, self.peer):
            if side is not None:
                reset(side._sock)
        self._end()

    def _end(self) -> None:
        peer = self.peer
        if peer is None:
            return
        for side in (self, peer):
            side.peer = None
            side._unsent = b""
            self._poller.end(side._sock)
            if side._on_end is not None:
                side._on_end(side)


def reset(sock: SocketType) -> None:
    """Lets a socket end so that the kernel keeps nothing of it: an orderly end would hold its port for a minute."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)

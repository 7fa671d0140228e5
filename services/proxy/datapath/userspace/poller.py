"""Says when sockets are ready: an epoll set of the datapath's own, which the event loop sees as one descriptor.

A loop's readers cost several system calls for each socket that comes and goes, and a step of the loop for each event. Here a socket costs
one call, and the events of all sockets are dealt out in one step.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable
from socket import SocketType

log = logging.getLogger(__name__)

BUFFER_BYTES = 256 * 1024
EVENTS_AT_ONCE = 512
# Under load there is more to do after the first: looking again is cheaper than another step of the loop.
ROUNDS_AT_ONCE = 3
READING = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
READING_AND_WRITING = READING | select.EPOLLOUT
# For listening sockets, which say it again as long as somebody waits.
LISTENING = select.EPOLLIN

# Called with the events that are there.
Handler = Callable[[int], None]


class Poller:
    """Calls a socket's handler when it is ready, each change once (but for LISTENING). One for all sockets of a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        # Whoever is called may read into it; what is there is his until he returns.
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._dealing = False
        self._ending: list[SocketType] = []
        self.loop.add_reader(self._epoll.fileno(), self._deal)

    def watch(self, sock: SocketType, handler: Handler, events: int) -> None:
        """Calls ``handler`` from now on; what is ready already counts as news."""
        descriptor = sock.fileno()
        self._epoll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def change(self, sock: SocketType, events: int) -> None:
        """Watches for other events; what is ready already counts as news."""
        self._epoll.modify(sock.fileno(), events)

    def hand_over(self, sock: SocketType, handler: Handler) -> None:
        """Tells another listener of a watched socket's news from now on."""
        self._handlers[sock.fileno()] = handler

    def leave(self, sock: SocketType) -> None:
        """Watches no longer; the socket stays open."""
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def end(self, sock: SocketType) -> None:
        """Closes a socket, watched or not. While events are dealt out its number stays taken: they may tell of it still."""
        self._handlers.pop(sock.fileno(), None)
        if self._dealing:
            self._ending.append(sock)
        else:
            sock.close()

    def _deal(self) -> None:
        for _ in range(ROUNDS_AT_ONCE):
            events = self._epoll.poll(0, EVENTS_AT_ONCE)
            if not events:
                return
            self._dealing = True
            self._deal_out(events)
            self._dealing = False
            for sock in self._ending:
                sock.close()
            self._ending.clear()

    def _deal_out(self, found: list[tuple[int, int]]) -> None:
        handlers = self._handlers
        for descriptor, events in found:
            handler = handlers.get(descriptor)
            if handler is None:
                continue
            try:
                handler(events)
            except Exception:
                log.exception("a socket's events could not be handled")

    def close(self) -> None:
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

"""Many connections at once between network namespaces, from one thread: who can reach whom.

Servers listen and never accept while a round lasts: the kernel completes the handshakes. UDP servers echo. A probe that succeeds is
noticed at once; one that should not, gets a while longer after the last that should.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.proxy.laboratory import Namespace

GRACE_SECONDS = 0.25
LIMIT_SECONDS = 10.0
BACKLOG = 4096
WORD = b"ping"
ABORT = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Probe:
    """``source`` and ``destination`` are addresses; the source's namespace is where it begins."""

    source: str
    destination: str
    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{self.source} → {self.destination} {self.protocol} {self.port}"


@dataclass
class Prober:
    """``places``: the namespace of each source address."""

    places: dict[str, Namespace]
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _listeners: list[socket.socket] = field(default_factory=list)

    def serve(self, namespace: Namespace, ports: Iterable[tuple[str, int]]) -> None:
        """Listens on all addresses of a namespace."""
        with namespace.entered():
            for protocol, port in ports:
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM)
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("0.0.0.0", port))
                if protocol == "TCP":
                    sock.listen(BACKLOG)
                else:
                    self._selector.register(sock, selectors.EVENT_READ, None)
                self._listeners.append(sock)

    def reached(self, probes: Iterable[Probe], expected: set[Probe]) -> set[Probe]:
        """Which of the probes got through; waits for those expected to, and a grace for the others."""
        waiting = self._begin(probes)
        found: set[Probe] = set()
        limit = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < limit and not expected <= found:
            self._turn(waiting, found, 0.05)
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until:
            self._turn(waiting, found, 0.02)
        for sock in list(waiting):
            self._end(waiting, sock)
        self._drain()
        return found

    def _begin(self, probes: Iterable[Probe]) -> dict[socket.socket, Probe]:
        by_source: dict[str, list[Probe]] = {}
        for probe in probes:
            by_source.setdefault(probe.source, []).append(probe)
        waiting: dict[socket.socket, Probe] = {}
        for source, group in by_source.items():
            with self.places[source].entered():
                for probe in group:
                    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if probe.protocol == "TCP" else socket.SOCK_DGRAM)
                    sock.setblocking(False)
                    # What has no way at all would look like a success later.
                    with contextlib.suppress(BlockingIOError):
                        sock.connect((probe.destination, probe.port))
                    if probe.protocol == "UDP":
                        with contextlib.suppress(OSError):
                            sock.send(WORD)
                    self._selector.register(sock, selectors.EVENT_WRITE if probe.protocol == "TCP" else selectors.EVENT_READ, probe)
                    waiting[sock] = probe
        return waiting

    def _turn(self, waiting: dict[socket.socket, Probe], found: set[Probe], seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if key.data is None:
                self._echo(sock)
                continue
            if _succeeded(sock, key.data):
                found.add(key.data)
            self._end(waiting, sock)

    def _end(self, waiting: dict[socket.socket, Probe], sock: socket.socket) -> None:
        self._selector.unregister(sock)
        probe = waiting.pop(sock)
        if probe.protocol == "TCP":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        sock.close()

    @staticmethod
    def _echo(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data, address = sock.recvfrom(100)
            sock.sendto(data, address)

    def _drain(self) -> None:
        """Takes what the kernel has accepted off the backlogs."""
        for sock in self._listeners:
            with contextlib.suppress(OSError):
                while sock.type == socket.SOCK_STREAM:
                    accepted, _ = sock.accept()
                    accepted.close()

    def close(self) -> None:
        for sock in self._listeners:
            sock.close()
        self._selector.close()


def _succeeded(sock: socket.socket, probe: Probe) -> bool:
    if probe.protocol == "TCP":
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    try:
        return sock.recv(100) == WORD
    except OSError:
        return False

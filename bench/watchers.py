"""Many watchers in one light process: ``python -m bench.watchers URL CA TOKEN COUNT`` for a URL of watches.

It shares the machine with the server that it watches, so it parses nothing: of what comes it looks for marks, ``"mark":"NUMBER"``, and
remembers when the last of the watchers had each. It says ``watching`` when all watchers have the present, and is told how many marks there
are; then it says the times of all marks but 0, by the monotonic clock, as JSON.
"""

from __future__ import annotations

import json
import math
import selectors
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

MARK = b'"mark":"'
READ_BYTES = 64 * 1024
# Longer than a mark is what ends it.
KEPT_BYTES = 32
# How long after the last write a mark may come.
LATE_SECONDS = 30.0


class Watcher:
    """One connection."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection
        # Of a piece that has not come whole; and the end of the pieces before, in which a mark may begin.
        self._unread = self._tail = b""

    def marks(self) -> list[int]:
        """Those that have come."""
        try:
            received = self.connection.recv(READ_BYTES)
        except ssl.SSLWantReadError:
            return []
        if not received:
            raise SystemExit("error: a watch ended")
        first, *others = (self._tail + self._body(self._unread + received)).split(MARK)
        found = [int(number) for number, quote, _ in (other[:KEPT_BYTES].partition(b'"') for other in others) if quote]
        last = others[-1] if others else first
        self._tail = (MARK + last if others and b'"' not in last[:KEPT_BYTES] else last)[-KEPT_BYTES:]
        return found

    def _body(self, data: bytes) -> bytes:
        """What HTTP's pieces hold: each has its length, in hexadecimal, before it."""
        pieces, at = [], 0
        while (end := data.find(b"\r\n", at)) >= 0:
            begin = end + 2
            next_at = begin + int(data[at:end], 16) + 2
            if next_at > len(data):
                break
            pieces.append(data[begin : next_at - 2])
            at = next_at
        self._unread = data[at:]
        return b"".join(pieces)


def watching(url: str, ca: str, token: str) -> Watcher:
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    plain = socket.create_connection((parts.hostname, parts.port))
    connection = context.wrap_socket(plain, server_hostname=parts.hostname)
    head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    connection.sendall(head.encode())
    while connection.recv(1) != b"\r" or connection.recv(3) != b"\n\r\n":
        pass
    watcher = Watcher(connection)
    while 0 not in watcher.marks():
        pass
    connection.setblocking(False)
    return watcher


def main() -> None:
    url, ca, token, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    selector = selectors.DefaultSelector()
    for _ in range(count):
        watcher = watching(url, ca, token)
        selector.register(watcher.connection, selectors.EVENT_READ, watcher)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("watching", flush=True)
    missing: dict[int, int] = {}
    last: dict[int, float] = {}
    # How many marks there are is told once all are written.
    expected, deadline = sys.maxsize, math.inf
    while len(last) < expected and time.monotonic() < deadline:
        for key, _ in selector.select(1.0):
            if key.data is None:
                expected, deadline = int(sys.stdin.readline()), time.monotonic() + LATE_SECONDS
                selector.unregister(sys.stdin)
                continue
            now = time.monotonic()
            for mark in key.data.marks():
                missing[mark] = missing.get(mark, count) - 1
                if not missing[mark] and mark:
                    last[mark] = now
    print(json.dumps(last), flush=True)


if __name__ == "__main__":
    main()

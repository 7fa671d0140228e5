"""Many watchers in one light process: ``python -m bench.watchers URL CA TOKEN COUNT`` for a URL of watches.

It shares the machine with the server that it watches, so it parses nothing: of what comes it looks for marks, ``"mark":"NUMBER"``, and
remembers when the last of the watchers had each. It says ``watching`` when all watchers have the present, and once its input ends the
times of the marks, by the monotonic clock, as JSON.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

MARK = re.compile(rb'"mark":"(\d+)"')
READ_BYTES = 64 * 1024
# What may be the beginning of a mark, whose end comes with the next record.
KEPT_BYTES = 32


class Watcher:
    """One connection; ``marks`` are those that came with the last of it."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection
        self._tail = b""

    def marks(self) -> list[int]:
        data = self._tail
        while True:
            try:
                received = self.connection.recv(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            if not received:
                raise SystemExit("error: a watch ended")
            data += received
        found = [*MARK.finditer(data)]
        self._tail = data[max(found[-1].end() if found else 0, len(data) - KEPT_BYTES) :]
        return [int(mark[1]) for mark in found]


def watching(url: str, ca: str, token: str) -> Watcher:
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    plain = socket.create_connection((parts.hostname, parts.port))
    connection = context.wrap_socket(plain, server_hostname=parts.hostname)
    head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    connection.sendall(head.encode())
    received = b""
    while b'"mark":"0"' not in received:
        received += connection.recv(READ_BYTES)
    connection.setblocking(False)
    return Watcher(connection)


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
    while True:
        for key, _ in selector.select():
            if key.data is None:
                print(json.dumps(last), flush=True)
                return
            now = time.monotonic()
            for mark in key.data.marks():
                missing[mark] = missing.get(mark, count) - 1
                if not missing[mark]:
                    last[mark] = now


if __name__ == "__main__":
    main()

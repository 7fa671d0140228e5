"""Asks for one long answer again and again, over TLS, for less than the server pays for it: so what is measured is the server.

A client that decrypts 3 MB works as long as a server that encrypts them. This one decrypts the first answer of each connection, which must
be a success, and knows by it how long an answer is; of the following ones it looks at nothing but the heads of TLS' records, which tell how
much of the answer each of them has (RFC 8446, 5.2). They must end where the answer does. It prefers the ciphers that Go's clients prefer,
which are most: ``lister.cnf`` says so to OpenSSL, of whose order Python knows nothing.

Runs as a process of its own (``python -m bench.lister URL CONNECTIONS SECONDS``, the token by standard input) and prints answers a second.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import ssl
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

# A record's head is its type, a version and its length; the content's type and a tag are of its own.
HEAD_BYTES, OVERHEAD_BYTES = 5, 17
READ_BYTES = 1024 * 1024
# So much is to be there before it is worth to be woken for.
AWAITED_BYTES = 256 * 1024
CIPHERS = Path(__file__).parent / "lister.cnf"


class Lister:
    """One connection; one answer after the other, of which the first tells how long all of them are."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self.socket = socket.create_connection((parts.hostname, parts.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._request = f"GET {target} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {token}\r\n\r\n".encode()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._buffer = bytearray(READ_BYTES)
        self.answer_bytes = 0
        # What is still to come of the answer; what is to be skipped before the next record's head, and that head as far as it is there.
        self._left = self._skipped = 0
        self._head = b""

    def begin(self) -> None:
        """Raises RuntimeError where the first answer is no success."""
        self._shake_hands()
        self.answer_bytes = len(self._first())

    def ask(self) -> None:
        self._tls.write(self._request)
        self.socket.sendall(self._outgoing.read())
        self._left = self.answer_bytes
        self._await()

    def read(self) -> bool:
        """Takes what is there; whether it was the end of the answer."""
        count = self.socket.recv_into(self._buffer)
        if not count:
            raise RuntimeError("the server ended the connection")
        self._count(memoryview(self._buffer)[:count])
        if self._left < 0 or (not self._left and self._head):
            raise RuntimeError("an answer is not as long as the first one was")
        is_over = not self._left and not self._skipped
        if not is_over:
            self._await()
        return is_over

    def _count(self, data: memoryview) -> None:
        at = self._skipped
        if self._head:
            data, at = memoryview(self._head + data), 0
            self._head = b""
        end = len(data)
        while at + HEAD_BYTES <= end:
            size = data[at + 3] << 8 | data[at + 4]
            self._left -= size - OVERHEAD_BYTES
            at += HEAD_BYTES + size
        if at < end:
            self._head = bytes(data[at:])
        self._skipped = max(0, at - end)

    def _await(self) -> None:
        """Lets the kernel wake us once much is there, or all."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, max(1, min(self._left + self._skipped, AWAITED_BYTES)))

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._outgoing.read())
                self._receive()
            else:
                self.socket.sendall(self._outgoing.read())
                return

    def _first(self) -> bytes:
        """The first answer, decrypted: its end is told by its length, or by an empty chunk."""
        self._tls.write(self._request)
        self.socket.sendall(self._outgoing.read())
        answer, size = b"", 0
        while not size or len(answer) < size:
            try:
                answer += self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                self._receive()
            head, found, _ = answer.partition(b"\r\n\r\n")
            if not found:
                continue
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"the answer is {head.decode()}")
            _, is_told, length = head.lower().partition(b"content-length:")
            if is_told:
                size = len(head) + len(found) + int(length.split(b"\r\n")[0])
            elif answer.endswith(b"0\r\n\r\n"):
                size = len(answer)
        return answer

    def _receive(self) -> None:
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise RuntimeError("the server ended the connection")
        self._incoming.write(data)


def measure(url: str, token: str, connections: int, seconds: float) -> float:
    """Answers a second."""
    with selectors.DefaultSelector() as selector, ExitStack() as opened:
        listers = [Lister(url, token) for _ in range(connections)]
        for lister in listers:
            opened.enter_context(lister.socket)
            lister.begin()
            selector.register(lister.socket, selectors.EVENT_READ, lister)
        started, count = time.monotonic(), 0
        for lister in listers:
            lister.ask()
        while (elapsed := time.monotonic() - started) < seconds:
            for key, _ in selector.select():
                if key.data.read():
                    count += 1
                    key.data.ask()
    return count / elapsed


async def lists(url: str, token: str, connections: int, seconds: float) -> float:
    """Answers a second, asked for by a process of its own; RuntimeError when one was no success."""
    command = (sys.executable, "-m", "bench.lister", url, str(connections), str(seconds))
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "OPENSSL_CONF": str(CIPHERS)}
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    out, err = await process.communicate(token.encode())
    if process.returncode != 0:
        raise RuntimeError(f"{url} cannot be measured: {err.decode()}")
    return float(out)


if __name__ == "__main__":
    print(measure(sys.argv[1], sys.stdin.read(), int(sys.argv[2]), float(sys.argv[3])))

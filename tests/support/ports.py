"""Free ports for what tests start.

They lie below the range from which the kernel takes the ports of outgoing connections, so that nothing takes one between the
moment it is found and the moment it is listened on; every process of a parallel run looks in a stretch of its own.
"""

from __future__ import annotations

import itertools
import os
import socket

FIRST, SPAN = 10_000, 12_000
STRETCH = 1_009

_numbers = itertools.count(os.getpid() * STRETCH)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on; never the same twice in a row."""
    for number in itertools.islice(_numbers, SPAN):
        port = FIRST + number % SPAN
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port from {FIRST} to {FIRST + SPAN} is free; end other test runs on this machine")

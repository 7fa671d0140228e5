"""Prometheus metrics of a component that is a process of its own.

Plain HTTP, on the loopback unless told otherwise: scrapers of one machine need no token, and others
should come through something that asks for one. In a process that serves the REST API the metrics
of all its components stand there, at ``/metrics``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server


@contextmanager
def exposed(listen: str) -> Iterator[int]:
    """Serves the metrics at ``host:port`` for the length of the block; the port. OSError when it is taken."""
    host, _, port = listen.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]"))
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A component's metrics can be read for as long as it runs."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from knarr.service import interceptor
from knarr.service.exposition import exposed


def test_metrics_are_served_and_the_port_is_given_back() -> None:
    interceptor.CALLS.labels("/test/Call", "OK").inc()
    with exposed("127.0.0.1:0") as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        assert 'knarr_grpc_calls_total{code="OK",method="/test/Call"}' in text
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(OSError), exposed(f"127.0.0.1:{holder.getsockname()[1]}"):
            pass

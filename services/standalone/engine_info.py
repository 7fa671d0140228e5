"""What this machine's Docker engine tells of itself, asked without a client that would take longer to load than to answer."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from typing import Any

import orjson

from services.kubelet.runtime.catalog import engine_url

ANSWER_SECONDS = 10.0
ROOTLESS = "name=rootless"


class _Connection(http.client.HTTPConnection):
    """To a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(self._path)


def engine_info() -> dict[str, Any] | None:
    """What Docker tells of itself; None where it is on another machine or does not answer, of which others tell."""
    path = engine_url().removeprefix("unix://")
    if not path.startswith("/"):
        return None
    with closing(_Connection(path)) as connection:
        try:
            connection.request("GET", "/info")
            return dict(orjson.loads(connection.getresponse().read()))
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError, TypeError):
            return None


def is_rootless(info: dict[str, Any]) -> bool:
    """Whether it runs as an ordinary user, in a network of its own."""
    return any(ROOTLESS in str(option) for option in info.get("SecurityOptions") or ())

"""uvicorn's HTTP protocol, with the verified client certificate's user in every request's state."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.apiserver.rest.authentication import CERTIFICATE_USER, certificate_user
from services.apiserver.rest.request import ABORT, CORK

# A larger body is not copied to be joined with its head.
COPY_BYTES = 16 * 1024


class CorkedTransport:
    """A transport that can hold one write back and send it with the next: head and body of a small answer
    then cost one TLS record and one system call."""

    __slots__ = ("_held", "_hold", "_transport", "_write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._write = transport.write
        self._hold = False
        self._held = b""

    def cork(self) -> None:
        """Holds the next write back until the one after it."""
        self._hold = True

    def write(self, data: bytes) -> None:
        if self._hold:
            self._hold = False
            self._held = data
        elif self._held:
            head, self._held = self._held, b""
            if len(data) < COPY_BYTES:
                self._write(head + data)
            else:
                self._write(head)
                self._write(data)
        else:
            self._write(data)

    def close(self) -> None:
        if self._held:
            self.write(b"")
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """ASGI's scope has no peer certificate, so the connection's state carries the user it names, a way to drop
    the connection, and one to write an answer in one piece.

    A WebSocket takes the state of the connection over when it is upgraded.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        corked = CorkedTransport(transport)
        super().connection_made(corked)  # type: ignore[arg-type]
        self.app_state: dict[str, Any] = {**self.app_state, ABORT: transport.abort, CORK: corked.cork}
        user = certificate_user(transport.get_extra_info("ssl_object"))
        if user is not None:
            self.app_state[CERTIFICATE_USER] = user

    def _unsupported_upgrade_warning(self) -> None:
        """Other upgrades (SPDY, HTTP/2) are answered as plain requests."""

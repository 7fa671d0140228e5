"""uvicorn's HTTP protocol, with the verified client certificate's user in every request's state."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.apiserver.rest.authentication import CERTIFICATE_USER, certificate_user
from services.apiserver.rest.request import ABORT


class Protocol(HttpToolsProtocol):
    """ASGI's scope has no peer certificate, so the connection's state carries the user it names, and a way to drop the connection.

    A WebSocket takes the state of the connection over when it is upgraded.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, ABORT: transport.abort}
        user = certificate_user(transport.get_extra_info("ssl_object"))
        if user is not None:
            self.app_state[CERTIFICATE_USER] = user

    def _unsupported_upgrade_warning(self) -> None:
        """Other upgrades (SPDY, HTTP/2) are answered as plain requests."""

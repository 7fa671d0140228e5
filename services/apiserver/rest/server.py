"""Serves the application over TLS inside a running loop.

uvicorn's protocol does the HTTP; the listener is ours, because uvicorn's own server wants the
signal handlers and ends only when every client has gone. A stop here is staged and bounded:
no new connections, streams ended, what runs gets ``grace_seconds``, the rest is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import typing
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from knarr.service.presence import keep_asking
from knarr.service.tls import ServerContext
from services.apiserver.fairness.rounds import Rounds
from services.apiserver.rest.authentication import CERTIFICATE_USER
from services.apiserver.rest.crowd import Crowd
from services.apiserver.rest.entrance import entrance
from services.apiserver.rest.protocol import CROWD, ROUNDS, Protocol, WebSocketProtocol
from services.apiserver.rest.request import Receive, Scope, Send
from services.apiserver.rest.streams import Streams

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 120
GRACE_SECONDS = 3.0
# Input of exec; clients send pieces of 32 KiB.
WEBSOCKET_MESSAGE_BYTES = 1024 * 1024
BACKLOG = 2048


class Face(typing.Protocol):
    """An ASGI application that says how its requests share the server's time, and can end what goes on."""

    streams: Streams

    @property
    def rounds(self) -> Rounds | None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class RestServer:
    """One port, at one or several addresses. ``context`` None serves plain HTTP (only for tests of the shell itself)."""

    def __init__(
        self,
        application: Face,
        context: ServerContext | None,
        *,
        host: str | Sequence[str] = "127.0.0.1",
        port: int = 0,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._application = application
        self._context = context
        self._host = host
        self._port = port
        self._grace_seconds = grace_seconds
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._crowd: Crowd | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; the asked one before ``start``."""
        if self._server is None or not self._server.sockets:
            return self._port
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listens; raises OSError when the address is taken."""
        config = Config(
            self._application,
            interface="asgi3",
            http=Protocol,
            ws=WebSocketProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws_per_message_deflate=False,
            ws_max_size=WEBSOCKET_MESSAGE_BYTES,
            # A client that does not read for a while (a pager, a stopped process) answers no ping either; whether it is there, the
            # kernel knows.
            ws_ping_interval=None,
        )
        config.load()
        crowd = self._crowd = Crowd()
        state: dict[str, Any] = {CROWD: crowd}
        if self._application.rounds is not None:
            state[ROUNDS] = self._application.rounds

        def accept() -> asyncio.BaseProtocol:
            protocol = Protocol(config, self._state, state)
            if self._context is None:
                return protocol
            before, latest = self._context.generation, self._context.latest()
            if self._context.generation != before:
                self._ask_anew()
            return entrance(crowd, latest, protocol)

        self._server = await asyncio.get_running_loop().create_server(accept, self._host, self._port, backlog=BACKLOG)
        for listener in self._server.sockets:
            keep_asking(listener)
        logger.info("the REST face listens", extra={"host": self._host, "port": self.port})

    def _ask_anew(self) -> None:
        """Ends the connections whose clients have shown certificates once their requests are answered: who vouched for them may be trusted
        no more. Whoever is trusted still comes again."""
        for connection in list(self._state.connections):
            if isinstance(connection, Protocol) and CERTIFICATE_USER in connection.app_state:
                connection.shutdown()

    async def stop(self) -> None:
        """Ends every connection within ``grace_seconds``; may be called twice."""
        if self._server is None:
            return
        self._port = self.port
        server, self._server = self._server, None
        server.close()
        self._application.streams.end()
        for connection in list(self._state.connections):
            connection.shutdown()
        await self._finish_tasks()
        if self._crowd is not None:
            self._crowd.disperse()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace_seconds):
                await server.wait_closed()

    async def _finish_tasks(self) -> None:
        if not self._state.tasks:
            return
        _, running = await asyncio.wait(list(self._state.tasks), timeout=self._grace_seconds)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=self._grace_seconds)

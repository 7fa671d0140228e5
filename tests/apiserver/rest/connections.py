"""Connections without a network, to a server that has no more than its protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from services.apiserver.fairness import rounds
from services.apiserver.rest import crowd, protocol, request
from services.apiserver.rest.pieces import cut, is_long, send_pieces
from services.apiserver.rest.request import Receive, Scope, Send
from services.apiserver.rest.response import Response


class FakeTransport(asyncio.Transport):
    protocol: asyncio.BaseProtocol

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written.append(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.written.extend(list_of_data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Crowded:
    """Connections to one server, that answers all requests alike, once it has waited for something."""

    def __init__(self, body: bytes, wait: Callable[[], Awaitable[None]] | None = None) -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            asked, answer = request.Request(scope, receive), Response(body)
            asked.greet(asked.headers.get(b"user", b"").decode())
            await asked.body()
            if wait is not None:
                await wait()
            if is_long(answer):
                await send_pieces(asked, cut(answer), send)
                return
            if not asked.answer(answer.head(), answer.body):
                await send(answer.start())
                await send({"type": "http.response.body", "body": answer.body})

        self._config = Config(application, interface="asgi3", lifespan="off", log_config=None)
        self._config.load()
        self.tasks = ServerState()
        self._state = {protocol.CROWD: crowd.Crowd(), protocol.ROUNDS: rounds.Rounds()}

    def connect(self) -> tuple[FakeTransport, protocol.Protocol]:
        transport, served = FakeTransport(), protocol.Protocol(self._config, self.tasks, self._state)
        transport.protocol = served
        served.connection_made(transport)
        return transport, served

    async def rest(self) -> None:
        """Returns once nothing is under way."""
        for _ in range(200):
            await asyncio.sleep(0)


def asking(user: str, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nuser: %b\r\ncontent-length: %d\r\n\r\n%b" % (user.encode(), len(body), body)

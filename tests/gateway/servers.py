"""Small HTTP servers that stand for pods, and a client that sees what a gateway makes of requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from services.gateway.routing.actions import Server


@dataclass(slots=True)
class Pod:
    """``requests`` are those that came: method, path with query, headers."""

    name: str
    port: int = 0
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    runner: Any = None

    @property
    def server(self) -> Server:
        return Server("127.0.0.1", self.port, self.name)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.path_qs, request.headers.copy()))
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._echo(request)
        if seconds := request.query.get("sleep"):
            await asyncio.sleep(float(seconds))
        return web.Response(text=self.name, headers={"X-Body": str(len(body)), "X-Pod": self.name})

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{self.name}: {message.data}")
        return socket

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None


@contextlib.asynccontextmanager
async def pods(*names: str, address: str = "127.0.0.1", **site_options: Any) -> AsyncIterator[list[Pod]]:
    found = []
    try:
        for name in names:
            pod = Pod(name)
            app = web.Application(client_max_size=1 << 26)
            app.router.add_route("*", "/{tail:.*}", pod.answer)
            pod.runner = web.AppRunner(app, shutdown_timeout=0.2)
            await pod.runner.setup()
            site = web.TCPSite(pod.runner, address, 0, **site_options)
            await site.start()
            pod.port = pod.runner.addresses[0][1]
            found.append(pod)
        yield found
    finally:
        for pod in found:
            await pod.stop()


@dataclass(slots=True)
class Answer:
    status: int
    text: str
    headers: Any


class Browser:
    """Asks one address, whatever the host of a request is."""

    def __init__(self, port: int, scheme: str = "http") -> None:
        self.port, self.scheme = port, scheme
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Browser:
        self._session = aiohttp.ClientSession(trust_env=False, auto_decompress=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, host: str, path: str = "/", method: str = "GET", **options: Any) -> Answer:
        assert self._session is not None
        headers = {"Host": host, **options.pop("headers", {})}
        url = f"{self.scheme}://127.0.0.1:{self.port}"
        from yarl import URL

        async with self._session.request(
            method, URL(f"{url}{path}", encoded=True), headers=headers, allow_redirects=False, ssl=False, **options
        ) as found:
            return Answer(found.status, await found.text(), found.headers.copy())

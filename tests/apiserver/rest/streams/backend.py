"""A web server on loopback that plays what runs in a pod, and a node that leads to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from aiohttp import WSMsgType, web

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from tests.apiserver.rest.streams.fake_node import FakeNode

PAGE = """<html><A class=x href='/other?x=1&amp;y=2'>a</a><img
 src="/i.png" alt="/alt"><a href=/bare/>b</a><a href="relative">c</a><a href="http://elsewhere/x">d</a><p title="/p">&eacute;</p>"""


class Backend:
    """``heard`` are the requests as they came: method, target, headers and body."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, dict[str, str], bytes]] = []
        self.port = 0
        self.held = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/ws":
            return await self._socket(request)
        body = b"" if request.path == "/early" else await request.read()
        self.heard.append((request.method, request.raw_path, {name.lower(): value for name, value in request.headers.items()}, body))
        match request.path:
            case "/redirect":
                return web.Response(status=302, headers={"Location": request.query["to"]})
            case "/page":
                found = web.Response(text=PAGE + " " * int(request.query.get("more", 0)), content_type="text/html")
                if "gzip" in request.query:
                    found.enable_compression(web.ContentCoding.gzip)
                return found
            case "/page.txt":
                return web.Response(text=PAGE, content_type="text/plain")
            case "/stream":
                return await self._stream(request)
            case "/early":
                return web.Response(status=413, text="too much")
            case "/silent":
                await self.held.wait()
            case "/nothing":
                return web.Response(status=204)
            case "/headers":
                headers = {"Access-Control-Allow-Origin": "*", "Connection": "X-Hop", "X-Hop": "1", "X-Kept": "1", "Keep-Alive": "5"}
                return web.Response(text="x", headers=headers)
        return web.Response(body=body or b"ok", headers={"X-Method": request.method})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await self.held.wait()
        await response.write(b"second")
        return response

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        self.heard.append((request.method, request.raw_path, {name.lower(): value for name, value in request.headers.items()}, b""))
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"echo {message.data}")
        return socket


@asynccontextmanager
async def running_backend(context: ssl.SSLContext | None = None) -> AsyncIterator[Backend]:
    backend = Backend()
    # It waits for no rest of a body that it answered before, which the test does not send.
    runner = web.ServerRunner(web.Server(backend.answer, lingering_time=0.0))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    backend.port = runner.addresses[0][1]
    try:
        yield backend
    finally:
        backend.held.set()
        await runner.cleanup()


class LeadingNode(FakeNode):
    """Ports of pods and nodes lead to those of ``ports``; nobody listens on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: dict[int, int] = {}

    async def forward(
        self, pod: core.Pod, node: core.Node, port: int, data: AsyncIterator[bytes], *, by_address: bool = False
    ) -> AsyncIterator[bytes]:
        self.asked.append((pod.metadata.name, port, by_address))
        async with aclosing(self._lead(pod.status.pod_ip, port, data)) as pieces:
            async for piece in pieces:
                yield piece

    async def connect(self, address: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.asked.append((address, port))
        async with aclosing(self._lead(address, port, data)) as pieces:
            async for piece in pieces:
                yield piece

    async def _lead(self, address: str, port: int, data: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        if port not in self.ports:
            raise status_error("ServiceUnavailable", f"dial tcp {address}:{port}: connect: connection refused")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[port])
        self.open += 1
        feeder = asyncio.create_task(_feed(writer, data))
        try:
            while piece := await reader.read(65536):
                yield piece
        finally:
            self.open -= 1
            # First, as whoever waits here may be cancelled once more.
            writer.close()
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
            with suppress(OSError):
                await writer.wait_closed()


async def _feed(writer: asyncio.StreamWriter, data: Any) -> None:
    async for piece in data:
        writer.write(piece)
        await writer.drain()

"""Streams on which nothing is said for ten minutes are not cut, in whatever dialect. The clock jumps; the sockets are real."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry
from services.apiserver.api import Api
from services.apiserver.rest.application import create_app
from services.apiserver.rest.server import RestServer
from tests.apiserver.pipeline.world import World, fill, ref, running
from tests.apiserver.rest.conftest import TOKEN, TOKENS
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.streams.fake_node import PODS, FakeNode, pod
from tests.apiserver.rest.streams.spdy_client import spdy
from tests.support.virtual_time import run

SILENCE_SECONDS = 600.0
HEARD_SECONDS = 5.0

Hear = Callable[[], Awaitable[object]]


class SilentNode(FakeNode):
    """At port 8080 a server whose answers have begun; at port 8081 one that speaks another protocol after its first word."""

    async def forward(
        self, pod: core.Pod, node: core.Node, port: int, data: AsyncIterator[bytes], *, by_address: bool = False
    ) -> AsyncIterator[bytes]:
        if port == 8080:
            yield b"HTTP/1.1 200 OK\r\n\r\n"
            async for item in self._play():
                yield item
        elif port == 8081:
            yield b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: chat\r\n\r\n"
            async for item in self._play():
                yield item
        else:
            async for piece in super().forward(pod, node, port, data, by_address=by_address):
                yield piece


@dataclasses.dataclass
class Place:
    """A server over plain HTTP, its node and what is stored."""

    port: int
    node: SilentNode
    world: World

    def http(self) -> HttpClient:
        return HttpClient(self.port, None, TOKEN)

    def socket(self, path: str) -> connect:
        # The silence is to be the server's to bear: the client asks for no sign of life.
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=headers, ping_interval=None)

    def output(self, item: Any) -> None:
        self.node.output.put_nowait(item)

    async def store(self) -> None:
        await self.world.caller.create(ref(core.ConfigMap), core.ConfigMap(metadata=meta.ObjectMeta(name="new")), meta.CreateOptions())


@asynccontextmanager
async def placed() -> AsyncIterator[Place]:
    async with running() as world:
        found = pod("one", "c")
        await fill(world, [core.Node(metadata=meta.ObjectMeta(name="node-1")), found])
        found.status.pod_ip = "10.0.0.1"
        found.status.pod_ips.add(ip="10.0.0.1")
        await world.caller.update(ref(core.Pod, "one", "status"), found, meta.UpdateOptions())
        node = SilentNode()
        server = RestServer(create_app(Api(dataclasses.replace(world.caller.api.pipeline, node_streams=node)), TOKENS, registry()), None)
        await server.start()
        try:
            yield Place(server.port, node, world)
        finally:
            await server.stop()


def command_over_spdy(how: str) -> Any:
    @asynccontextmanager
    async def dialect(place: Place) -> AsyncIterator[Hear]:
        async with spdy(place.port, None, f"{PODS}/one/{how}?command=x&stdout=true", "v4.channel.k8s.io", token=TOKEN) as client:
            _, stdout = [await client.open(kind) for kind in ("error", "stdout")]

            async def hear() -> object:
                place.output(face.ExecResponse(stdout=b"word"))
                return await stdout.read()

            yield hear

    return dialect


def command_over_a_websocket(how: str) -> Any:
    @asynccontextmanager
    async def dialect(place: Place) -> AsyncIterator[Hear]:
        async with place.socket(f"{PODS}/one/{how}?command=x&stdout=true") as socket:
            await socket.recv()

            async def hear() -> object:
                place.output(face.ExecResponse(stdout=b"word"))
                found = await socket.recv()
                return found[1:]

            yield hear

    return dialect


@asynccontextmanager
async def port_forward_over_spdy(place: Place) -> AsyncIterator[Hear]:
    async with spdy(place.port, None, f"{PODS}/one/portforward", token=TOKEN) as client:
        _, data = [await client.open(kind, port="80", requestID="1") for kind in ("error", "data")]

        async def hear() -> object:
            await data.write(b"word")
            return await data.read()

        yield hear


@asynccontextmanager
async def port_forward_over_channels(place: Place) -> AsyncIterator[Hear]:
    async with place.socket(f"{PODS}/one/portforward?ports=80") as socket:
        for _ in range(2):
            await socket.recv()

        async def hear() -> object:
            await socket.send(b"\0word")
            found = await socket.recv()
            return found[1:]

        yield hear


def chunks_of(path: str) -> Any:
    @asynccontextmanager
    async def dialect(place: Place) -> AsyncIterator[Hear]:
        async with place.http() as client:
            await client.send("GET", path)
            assert (await client.head()).status == 200

            async def hear() -> object:
                place.output(b"word")
                return await client.chunk()

            yield hear

    return dialect


@asynccontextmanager
async def log_over_a_websocket(place: Place) -> AsyncIterator[Hear]:
    async with place.socket(f"{PODS}/one/log?follow=true") as socket:

        async def hear() -> object:
            place.output(b"word")
            return await socket.recv()

        yield hear


@asynccontextmanager
async def proxied_protocol(place: Place) -> AsyncIterator[Hear]:
    async with place.http() as client:
        await client.send("GET", f"{PODS}/one:8081/proxy/x", None, connection="Upgrade", upgrade="chat")
        assert (await client.head()).status == 101

        async def hear() -> object:
            place.output(b"word")
            return await client.streams[0].readexactly(4)

        yield hear


@asynccontextmanager
async def watch(place: Place) -> AsyncIterator[Hear]:
    async with place.http() as client:
        await client.send("GET", "/api/v1/namespaces/default/configmaps?watch=true")
        await client.head()

        async def hear() -> object:
            await place.store()
            return b"word" if json.loads(await client.chunk())["type"] == "ADDED" else None

        yield hear


@asynccontextmanager
async def watch_over_a_websocket(place: Place) -> AsyncIterator[Hear]:
    async with place.socket("/api/v1/namespaces/default/configmaps?watch=true") as socket:

        async def hear() -> object:
            await place.store()
            return b"word" if json.loads(await socket.recv())["type"] == "ADDED" else None

        yield hear


DIALECTS: dict[str, Callable[[Place], AbstractAsyncContextManager[Hear]]] = {
    "exec over SPDY": command_over_spdy("exec"),
    "attach over SPDY": command_over_spdy("attach"),
    "exec over a WebSocket": command_over_a_websocket("exec"),
    "attach over a WebSocket": command_over_a_websocket("attach"),
    "port-forward over SPDY": port_forward_over_spdy,
    "port-forward over channels": port_forward_over_channels,
    "log": chunks_of(f"{PODS}/one/log?follow=true"),
    "log over a WebSocket": log_over_a_websocket,
    "proxy": chunks_of(f"{PODS}/one:8080/proxy/x"),
    "proxy of another protocol": proxied_protocol,
    "watch": watch,
    "watch over a WebSocket": watch_over_a_websocket,
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_ten_silent_minutes(dialect: str) -> None:
    async def main() -> None:
        async with placed() as place, DIALECTS[dialect](place) as hear:
            await asyncio.sleep(SILENCE_SECONDS)
            async with asyncio.timeout(HEARD_SECONDS):
                assert await hear() == b"word"

    run(main())

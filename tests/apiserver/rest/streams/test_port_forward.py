"""port-forward in the dialects of its clients, in front of a scripted node."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from knarr.service.spdy.session import Session
from knarr.service.streams import forwards
from knarr.service.streams.forwards import TUNNEL
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import TOKEN, Certificates
from tests.apiserver.rest.http_client import Answer, HttpClient
from tests.apiserver.rest.streams.fake_node import PODS, FakeNode
from tests.apiserver.rest.streams.spdy_client import SpdyClient, everything, spdy

FORWARD = f"{PODS}/one/portforward"


@dataclass
class SocketWire:
    """A pipe over the messages of a WebSocket, cut otherwise than what is written."""

    socket: aiohttp.ClientWebSocketResponse

    async def read(self) -> bytes:
        message = await self.socket.receive()
        return bytes(message.data) if message.type is aiohttp.WSMsgType.BINARY else b""

    async def write(self, data: bytes) -> None:
        for piece in (data[:3], data[3:]):
            if piece:
                await self.socket.send_bytes(piece)

    def close(self) -> None:
        raise AssertionError("nobody closes it")


@asynccontextmanager
async def tunnel(server: RestServer, certificates: Certificates) -> Any:
    """SPDY within a WebSocket. Its protocol's name is no token, which the library that the other tests use insists on."""
    url = f"https://127.0.0.1:{server.port}{FORWARD}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, ssl=certificates.client, protocols=[TUNNEL, "v4.channel.k8s.io"], headers=headers) as socket,
    ):
        assert socket.protocol == TUNNEL
        wire = SocketWire(socket)
        session = Session(wire, lambda stream: None, client=True)
        running = asyncio.create_task(session.run())
        yield SpdyClient(session, Answer(101, {}), wire, running)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(params=["spdy", "tunnel"])
def dial(request: pytest.FixtureRequest, server: RestServer, certificates: Certificates) -> Any:
    def dial() -> AbstractAsyncContextManager[SpdyClient]:
        if request.param == "tunnel":
            return tunnel(server, certificates)
        return spdy(server.port, certificates.client, FORWARD, "portforward.k8s.io", token=TOKEN)

    return dial


class TestSpdy:
    async def test_connections_beside_one_another(self, dial: Any, node: FakeNode) -> None:
        async with dial() as client:
            pairs = []
            for number, port in enumerate(("80", "82")):
                error = await client.open("error", port=port, requestID=str(number))
                await error.close()
                pairs.append((error, await client.open("data", port=port, requestID=str(number))))
            (error, first), (_, second) = pairs
            await second.write(b"to 82")
            await first.write(b"to 80")
            assert (await first.read(), await second.read()) == (b"to 80", b"to 82")
            await first.close()
            assert (await everything(first), await everything(error)) == (b"goodbye", b"")
            await second.write(b"still there")
            assert await second.read() == b"still there"
        assert node.asked == [("one", 80, False), ("one", 82, False)]
        await node.left_alone()

    async def test_the_oldest_clients_do_not_name_their_requests(self, dial: Any, node: FakeNode) -> None:
        async with dial() as client:
            await client.open("error", port="80")
            data = await client.open("data", port="80")
            await data.write(b"hello")
            assert await data.read() == b"hello"

    @pytest.mark.parametrize(
        ("port", "words"),
        [
            ("81", b"error forwarding port 81 to pod one: dial tcp 10.0.0.1:81: connect: connection refused"),
            ("0", b"unable to parse '0' as a port"),
            ("x", b"unable to parse 'x' as a port"),
        ],
    )
    async def test_what_went_wrong_is_told_on_the_error_stream(self, dial: Any, port: str, words: bytes) -> None:
        async with dial() as client:
            error = await client.open("error", port=port, requestID="1")
            data = await client.open("data", port=port, requestID="1")
            assert (await everything(error), await everything(data)) == (words, b"")
            again = await client.open("data", port="80", requestID="2")
            await client.open("error", port="80", requestID="2")
            await again.write(b"others go on")
            assert await again.read() == b"others go on"

    async def test_what_comes_for_a_connection_that_has_ended_holds_up_nobody(self, dial: Any) -> None:
        async with dial() as client:
            await client.open("error", port="83", requestID="1")
            ended = await client.open("data", port="83", requestID="1")
            assert await everything(ended) == b"word"
            async with asyncio.timeout(20):
                for _ in range(64):
                    await ended.write(b"x" * 65536)
                await client.open("error", port="80", requestID="2")
                data = await client.open("data", port="80", requestID="2")
                await data.write(b"hello")
                assert await data.read() == b"hello"

    async def test_half_a_pair_is_given_up(self, dial: Any, monkeypatch: pytest.MonkeyPatch, node: FakeNode) -> None:
        monkeypatch.setattr(forwards, "PAIRING_SECONDS", 0.05)
        async with dial() as client:
            assert await everything(await client.open("error", port="80", requestID="1")) == b""
            assert await everything(await client.open("nonsense", port="80", requestID="1")) == b""
        assert not node.asked

    async def test_stop_ends_it(self, dial: Any, node: FakeNode, server: RestServer) -> None:
        async with dial() as client:
            await client.open("error", port="80", requestID="1")
            await client.open("data", port="80", requestID="1")
            async with asyncio.timeout(5):
                await server.stop()
                await client.running
        await node.left_alone()


class TestChannels:
    @pytest.fixture
    def dial(self, server: RestServer, certificates: Certificates) -> Any:
        def dial(query: str, *protocols: Any) -> connect:
            return connect(
                f"wss://127.0.0.1:{server.port}{FORWARD}?{query}", ssl=certificates.client, subprotocols=protocols or None,
                additional_headers={"Authorization": f"Bearer {TOKEN}"}, open_timeout=5, close_timeout=5,
            )  # fmt: skip

        return dial

    @pytest.mark.parametrize(("query", "protocols"), [("ports=80&ports=82", ("v4.channel.k8s.io",)), ("ports=80,82", ())])
    async def test_two_channels_for_each_port(self, dial: Any, node: FakeNode, query: str, protocols: tuple[str, ...]) -> None:
        async with dial(query, *protocols) as socket, asyncio.timeout(5):
            assert [await socket.recv() for _ in range(4)] == [b"\x00\x50\x00", b"\x01\x50\x00", b"\x02\x52\x00", b"\x03\x52\x00"]
            for message in (b"\x02to 82", b"\x09nobody", b"\x01to the error", b"\x00", b""):
                await socket.send(message)
            assert await socket.recv() == b"\x02to 82"
            await socket.send(b"\x00to 80")
            assert await socket.recv() == b"\x00to 80"
        await node.left_alone()

    async def test_it_ends_with_its_connections(self, dial: Any, node: FakeNode) -> None:
        async with dial("ports=81,83") as socket, asyncio.timeout(5):
            heard = [message async for message in socket][4:]
        assert set(heard) == {b"\x02word", b"\x01error forwarding port 81 to pod one: dial tcp 10.0.0.1:81: connect: connection refused"}
        assert socket.close_code == 1000

    @pytest.mark.parametrize(
        ("query", "protocols", "words"),
        [
            ("", (), 'query parameter "ports" is required'),
            ("ports=80&ports=x", (), "unable to parse 'x' as a port"),
            ("ports=65536", (), "unable to parse '65536' as a port"),
            ("ports=" + ",".join(["80"] * 128), (), "127 ports may be forwarded to at most"),
            ("ports=80", ("nope",), "none of the offered WebSocket protocols is served"),
        ],
    )
    async def test_refusals(self, dial: Any, query: str, protocols: tuple[str, ...], words: str) -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with dial(query, *protocols):
                pass
        response = caught.value.response
        assert (response.status_code, words in json.loads(response.body or b"{}")["message"]) == (400, True)


async def test_refusals_before_the_upgrade(client: HttpClient) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}
    for path, headers, status, words in (
        (f"{PODS}/none/portforward", upgrade, 404, 'pods "none" not found'),
        (f"{PODS}/waiting/portforward", upgrade, 400, "pod waiting does not have a host assigned"),
        (FORWARD, {}, 400, "Upgrade request required"),
    ):
        answer = await client.request("POST", path, None, **headers)
        assert (answer.status, answer.json["message"]) == (status, words)
    answer = await client.request("POST", FORWARD, None, **upgrade, **{"x-stream-protocol-version": "v9"})
    assert (answer.status, answer.headers["x-accepted-stream-protocol-versions"]) == (403, "portforward.k8s.io")

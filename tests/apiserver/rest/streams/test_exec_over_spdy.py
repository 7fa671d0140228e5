"""exec and attach over SPDY/3.1, in front of a scripted node."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.service.streams import spdy_channels
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import TOKEN, Certificates
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.streams.fake_node import PODS, FakeNode
from tests.apiserver.rest.streams.spdy_client import SpdyClient, everything, spdy

V4, V3, V2, V1 = "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"
SUCCESS = face.ExecResponse(status=meta.Status(status="Success"))
FAILURE = face.ExecResponse(status=meta.Status(status="Failure", reason="NonZeroExitCode", message="exit 3"))


@pytest.fixture
def dial(server: RestServer, certificates: Certificates) -> Any:
    def dial(query: str, *protocols: str, how: str = "exec", method: str = "POST") -> AbstractAsyncContextManager[SpdyClient]:
        return spdy(server.port, certificates.client, f"{PODS}/one/{how}?{query}", *protocols, token=TOKEN, method=method)

    return dial


class TestCommands:
    @pytest.mark.parametrize("method", ["POST", "GET"])
    async def test_output_and_status(self, dial: Any, node: FakeNode, method: str) -> None:
        for response in (face.ExecResponse(stdout=b"out"), face.ExecResponse(stderr=b"err"), SUCCESS):
            node.output.put_nowait(response)
        async with dial("command=a&command=b&stdout=true&stderr=true", V4, V3, method=method) as client:
            assert client.answer.headers["upgrade"] == "SPDY/3.1"
            assert client.answer.headers["x-stream-protocol-version"] == V4
            streams = [await client.open(kind) for kind in ("error", "stdout", "stderr")]
            status, out, err = [await everything(stream) for stream in streams]
            assert (json.loads(status)["status"], out, err) == ("Success", b"out", b"err")
            async with asyncio.timeout(5):
                await client.running
        assert node.asked == [face.ExecStart(namespace="default", pod="one", container="c", command=["a", "b"], stdout=True, stderr=True)]
        await node.left_alone()

    @pytest.mark.parametrize(("protocols", "chosen"), [((V3,), V3), ((V2, V1), V2), ((V1,), V1), (("x", V2), V2), ((), None)])
    async def test_earlier_protocols_end_with_plain_words(self, dial: Any, node: FakeNode, protocols: Any, chosen: str | None) -> None:
        for response, words in ((FAILURE, b"exit 3"), (SUCCESS, b"")):
            node.output.put_nowait(response)
            async with dial("command=x&stdout=true", *protocols) as client:
                assert client.answer.headers.get("x-stream-protocol-version") == chosen
                error, _ = [await client.open(kind) for kind in ("error", "stdout")]
                assert await everything(error) == words

    async def test_input_sizes_and_half_close(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=cat&stdin=true&stdout=true&tty=true", V4) as client:
            _, stdin, _, resize = [await client.open(kind) for kind in ("error", "stdin", "stdout", "resize")]
            await stdin.write(b"hello")
            await node.heard(2)
            await resize.write(b'{"Width":80,"He')
            await resize.write(b'ight":24}\n{"Width":1}{"Width":90,"Height":30}')
            await node.heard(4)
            await stdin.close()
            heard = await node.heard(5)
        assert heard[1:] == [
            face.ExecRequest(stdin=b"hello"),
            face.ExecRequest(resize=face.TerminalSize(width=80, height=24)),
            face.ExecRequest(resize=face.TerminalSize(width=90, height=30)),
            face.ExecRequest(stdin_closed=True),
        ]
        await node.left_alone()

    async def test_much_input_while_the_command_has_ended_is_no_loss(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=head&stdin=true&stdout=true", V4) as client:
            error, stdin, stdout = [await client.open(kind) for kind in ("error", "stdin", "stdout")]

            async def write() -> None:
                for _ in range(200):
                    await stdin.write(b"x" * 32768)

            writing = asyncio.create_task(write())
            await node.heard(3)
            for response in (face.ExecResponse(stdout=b"first line"), SUCCESS):
                node.output.put_nowait(response)
            assert await everything(stdout) == b"first line"
            assert json.loads(await everything(error))["status"] == "Success"
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def test_streams_that_mean_nothing_are_given_up_and_hold_up_nobody(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=cat&stdin=true&stdout=true", V4) as client, asyncio.timeout(20):
            _, stdin, _ = [await client.open(kind) for kind in ("error", "stdin", "stdout")]
            for kind in ("nonsense", "stdin"):
                stream = await client.open(kind)
                assert await stream.read() == b""
            await stdin.write(b"hello")
            assert (await node.heard(2))[1] == face.ExecRequest(stdin=b"hello")

    async def test_a_client_that_goes_away_ends_the_command(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=sleep&stdout=true&stdin=true", V4) as client:
            for kind in ("error", "stdout", "stdin"):
                await client.open(kind)
            await node.heard(1)
        await node.left_alone()

    async def test_one_that_speaks_no_spdy_is_left(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=sleep&stdout=true", V4) as client, asyncio.timeout(5):
            await client.wire.write(b"\xff" * 64)
            await client.running
        assert not node.asked

    async def test_a_client_that_opens_no_streams_is_left(self, dial: Any, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spdy_channels, "OPENING_SECONDS", 0.5)
        async with dial("command=sleep&stdout=true", V4) as client:
            error = await client.open("error")
            assert b"timed out waiting for client to create streams" in await everything(error)
            async with asyncio.timeout(5):
                await client.running
        assert not node.asked

    async def test_stop_ends_commands(self, dial: Any, node: FakeNode, server: RestServer) -> None:
        async with dial("command=sleep&stdout=true", V4) as client:
            for kind in ("error", "stdout"):
                await client.open(kind)
            await node.heard(1)
            async with asyncio.timeout(5):
                await server.stop()
                await client.running
        await node.left_alone()

    async def test_a_protocol_that_nobody_serves_is_refused_with_those_that_are(self, client: HttpClient) -> None:
        headers = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "v9"}
        answer = await client.request("POST", f"{PODS}/one/exec?command=x&stdout=true", None, **headers)
        assert (answer.status, answer.headers["x-accepted-stream-protocol-versions"]) == (403, V1)
        assert b"unable to negotiate protocol: client supports [v9], server accepts [v4.channel.k8s.io v3" in answer.body

    async def test_who_is_refused_asks_again_on_the_same_connection(self, client: HttpClient) -> None:
        headers = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}
        await client.send("POST", f"{PODS}/none/exec?command=x&stdout=true", None, **headers)
        await client.send("GET", f"{PODS}/none/exec?command=x", None)
        first, second = await client.answer(), await client.answer()
        assert (first.status, second.status) == (404, 400)


class TestAttach:
    async def test_what_was_not_asked_for_is_not_told(self, dial: Any, node: FakeNode) -> None:
        for response in (face.ExecResponse(stderr=b"err"), face.ExecResponse(stdout=b"out"), SUCCESS):
            node.output.put_nowait(response)
        async with dial("stdout=true", V4, how="attach") as client:
            _, stdout = [await client.open(kind) for kind in ("error", "stdout")]
            assert await everything(stdout) == b"out"
        assert node.asked == [face.ExecStart(namespace="default", pod="one", container="c", stdout=True)]

    async def test_something_must_be_asked_for(self, client: HttpClient) -> None:
        answer = await client.get(f"{PODS}/one/attach")
        assert (answer.status, answer.json["message"]) == (400, "you must specify at least 1 of stdin, stdout, stderr")

"""Logs over HTTP and exec over WebSocket, in front of a scripted node."""

from __future__ import annotations

import asyncio
import json
import ssl
from socket import create_connection
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry
from knarr.machinery.errors import bad_request, forbidden, status_error
from knarr.service.streams.channels import V4, V5, choose_protocol
from services.apiserver.admission.attributes import Attributes
from services.apiserver.api import Api
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.rest.application import create_app
from services.apiserver.rest.protocol import Protocol
from services.apiserver.rest.server import RestServer
from tests.apiserver.pipeline.world import World
from tests.apiserver.rest.conftest import TOKEN, TOKENS, Certificates
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.streams.fake_node import PODS, FakeNode

# A close frame with the code 1000.
CLOSED_NORMALLY = bytes.fromhex("880203e8")
CHANNEL_V5, CHANNEL_V4, CHANNEL_BASE = "v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"


class TestLogs:
    async def test_the_caller_is_known(self, client: HttpClient, node: FakeNode, world: World) -> None:
        node.output.put_nowait(None)
        assert (await client.get(f"{PODS}/one/log")).status == 200
        assert [(request.user.name, request.verb, request.subresource) for request in world.guard.asked] == [("alice", "get", "log")]
        world.guard.refuse = forbidden("pods", "one", "it is not yours")
        assert (await client.get(f"{PODS}/one/log")).status == 403

    async def test_parameters_and_text(self, client: HttpClient, node: FakeNode) -> None:
        for item in (b"one\n", b"", b"two\n", None):
            node.output.put_nowait(item)
        query = "container=c&follow=true&previous=true&timestamps=true&tailLines=0&limitBytes=9&sinceTime=2020-01-01T00:00:00Z"
        answer = await client.get(f"{PODS}/one/log?{query}", accept="application/json, */*")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/plain; charset=utf-8", b"one\ntwo\n")
        assert node.asked[0] == face.LogRequest(
            namespace="default", pod="one", container="c", follow=True, previous=True, timestamps=True, tail_lines=0, limit_bytes=9,
            since_time="2020-01-01T00:00:00Z",
        )  # fmt: skip

    @pytest.mark.parametrize("stream", ["All", "Stdout", "Stderr"])
    async def test_one_stream_of_both(self, client: HttpClient, node: FakeNode, stream: str) -> None:
        node.output.put_nowait(None)
        assert (await client.get(f"{PODS}/one/log?stream={stream}&limitBytes=9")).status == 200
        assert [(asked.stream, asked.limit_bytes) for asked in node.asked] == [(stream, 9)]

    async def test_all_streams_have_last_lines(self, client: HttpClient, node: FakeNode) -> None:
        node.output.put_nowait(None)
        assert (await client.get(f"{PODS}/one/log?stream=All&tailLines=3")).status == 200
        assert (node.asked[0].stream, node.asked[0].tail_lines) == ("All", 3)

    async def test_each_chunk_is_written_at_once(self, client: HttpClient, node: FakeNode) -> None:
        await client.send("GET", f"{PODS}/one/log?follow=true")
        node.output.put_nowait(b"first\n")
        assert (await client.head()).headers["transfer-encoding"] == "chunked"
        assert await client.chunk() == b"first\n"
        node.output.put_nowait(b"second\n")
        assert await client.chunk() == b"second\n"
        assert node.open == 1
        await client.close()
        await node.left_alone()

    async def test_a_refusal_is_a_status(self, client: HttpClient, node: FakeNode) -> None:
        node.output.put_nowait(bad_request("container x is not valid for pod one"))
        answer = await client.get(f"{PODS}/one/log?container=x")
        assert (answer.status, answer.json["message"]) == (400, "container x is not valid for pod one")

    @pytest.mark.parametrize(
        ("query", "status", "words"),
        [
            ("tailLines=-1", 422, 'PodLogOptions "one" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0'),
            ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z", 422, "at most one of `sinceTime` or `sinceSeconds` may be specified"),
            ("stream=stderr", 422, 'stream: Unsupported value: "stderr": supported values: "All", "Stderr", "Stdout"'),
            ("stream=", 422, 'stream: Unsupported value: "": supported values: "All", "Stderr", "Stdout"'),
            ("stream=Stdout&tailLines=0", 422, "`tailLines` and specific `stream` are mutually exclusive for now"),
            ("tailLines=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ],
    )
    async def test_bad_parameters(self, client: HttpClient, node: FakeNode, query: str, status: int, words: str) -> None:
        answer = await client.get(f"{PODS}/one/log?{query}")
        assert answer.status == status and words in answer.json["message"]
        assert not node.asked

    async def test_without_a_way_to_the_nodes(self, pipeline: Pipeline, certificates: Certificates) -> None:
        server = RestServer(create_app(Api(pipeline), TOKENS, registry()), certificates.server)
        await server.start()
        async with HttpClient(server.port, certificates.client, TOKEN) as client:
            assert (await client.get(f"{PODS}/one/log")).status == 503
        await server.stop()


class TestLogsOverWebSocket:
    @pytest.fixture
    def dial(self, server: RestServer, certificates: Certificates) -> Any:
        def dial(query: str, *protocols: Any, pod: str = "one") -> connect:
            return connect(
                f"wss://127.0.0.1:{server.port}{PODS}/{pod}/log?{query}", ssl=certificates.client, subprotocols=protocols or None,
                additional_headers={"Authorization": f"Bearer {TOKEN}"}, open_timeout=5, close_timeout=5,
            )  # fmt: skip

        return dial

    @pytest.mark.parametrize(
        ("protocols", "frames"),
        [
            ((), [b"one\n", b"two\xff"]),
            (("x", "binary.k8s.io"), [b"one\n", b"two\xff"]),
            (("base64.binary.k8s.io",), [b"b25lCg==", b"dHdv/w=="]),
        ],
    )
    async def test_a_message_for_each_chunk(self, dial: Any, node: FakeNode, protocols: tuple[str, ...], frames: list[Any]) -> None:
        for item in (b"one\n", b"two\xff", None):
            node.output.put_nowait(item)
        async with dial("follow=true&tailLines=5", *protocols) as socket:
            assert socket.subprotocol == (protocols[-1] if protocols else None)
            assert await received(socket) == frames
        assert socket.close_code == 1000 and node.asked[0].tail_lines == 5
        await node.left_alone()

    async def test_a_client_that_goes_away_ends_it(self, dial: Any, node: FakeNode) -> None:
        node.output.put_nowait(b"one")
        async with dial("follow=true") as socket:
            assert await socket.recv() == b"one"
        await node.left_alone()

    async def test_refusals_and_later_errors(self, dial: Any, node: FakeNode) -> None:
        for query, protocols, pod, status in (("tailLines=-1", (), "one", 422), ("", ("x",), "one", 400), ("", (), "nope", 404)):
            with pytest.raises(InvalidStatus) as caught:
                async with dial(query, *protocols, pod=pod):
                    pass
            assert caught.value.response.status_code == status
        node.output.put_nowait(b"one")
        async with dial("follow=true") as socket:
            assert await socket.recv() == b"one"
            node.output.put_nowait(bad_request("the node is gone"))
            with pytest.raises(ConnectionClosedError):
                await received(socket)
        assert (socket.close_code, socket.close_reason) == (1011, "the node is gone")


class TestExec:
    @pytest.fixture
    def dial(self, server: RestServer, certificates: Certificates) -> Any:
        def dial(query: str, *protocols: Any, pod: str = "one") -> connect:
            return connect(
                f"wss://127.0.0.1:{server.port}{PODS}/{pod}/exec?{query}", ssl=certificates.client, subprotocols=protocols or None,
                additional_headers={"Authorization": f"Bearer {TOKEN}"}, open_timeout=5, close_timeout=5,
            )  # fmt: skip

        return dial

    async def test_output_and_success(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=ls&command=-l&stdout=true&stderr=true", CHANNEL_V5, CHANNEL_V4) as socket:
            assert socket.subprotocol == CHANNEL_V5
            node.output.put_nowait(face.ExecResponse(stdout=b"out"))
            node.output.put_nowait(face.ExecResponse(stderr=b"err"))
            node.output.put_nowait(face.ExecResponse(status=meta.Status(status="Success")))
            frames = await received(socket)
        assert frames[:3] == [b"\x01", b"\x01out", b"\x02err"]
        assert (frames[3][0], json.loads(frames[3][1:])["status"]) == (3, "Success")
        assert (socket.close_code, len(frames)) == (1000, 4)
        assert node.asked[0] == face.ExecStart(
            namespace="default", pod="one", container="c", command=["ls", "-l"], stdout=True, stderr=True
        )
        await node.left_alone()

    async def test_the_last_word_and_the_close_come_in_one_piece(
        self, server: RestServer, certificates: Certificates, node: FakeNode
    ) -> None:
        node.output.put_nowait(face.ExecResponse(status=meta.Status(status="Success")))
        record = await asyncio.to_thread(record_with_the_close, server.port, certificates.client)
        assert b'"Success"' in record

    async def test_arguments_may_be_long(self, dial: Any, node: FakeNode) -> None:
        node.output.put_nowait(face.ExecResponse(status=meta.Status(status="Success")))
        async with dial(f"command=echo&command={'x' * 500_000}&command=%0A%00%C3%A4&stdout=true", CHANNEL_V5) as socket:
            await received(socket)
        assert list(node.asked[0].command) == ["echo", "x" * 500_000, "\n\0ä"]

    @pytest.mark.parametrize("more", [{"content-length": "3"}, {"transfer-encoding": "chunked"}])
    async def test_a_head_that_is_none_of_a_websocket_is_refused(self, client: HttpClient, more: dict[str, str]) -> None:
        upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "A" * 22 + "=="}
        answer = await client.request("GET", f"{PODS}/one/exec?command=x&stdout=true", None, **upgrade, **more)
        assert answer.status == 400

    async def test_the_caller_is_known_to_the_authorizer_and_to_admission(self, dial: Any, node: FakeNode, world: World) -> None:
        async with dial("command=ls&stdout=true", CHANNEL_V5) as socket:
            node.output.put_nowait(face.ExecResponse(status=meta.Status(status="Success")))
            await received(socket)
        assert [(request.user.name, request.verb, request.subresource) for request in world.guard.asked] == [("alice", "create", "exec")]
        assert {(seen.operation, seen.user, seen.obj) for seen in world.witness.seen} == {("CONNECT", "alice", "ExecStart")}

    async def test_what_admission_refuses_is_an_ordinary_status(self, dial: Any, node: FakeNode, world: World) -> None:
        async def refuse(phase: str, attributes: Attributes) -> bool:
            raise forbidden("pods", attributes.name, "no commands here")

        world.witness.act = refuse
        with pytest.raises(InvalidStatus) as caught:
            async with dial("command=ls&stdout=true", CHANNEL_V5):
                pass
        assert caught.value.response.status_code == 403
        assert json.loads(caught.value.response.body or b"{}")["message"] == 'pods "one" is forbidden: no commands here'
        assert not node.asked

    async def test_input_resize_and_half_close(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=cat&stdin=true&stdout=true&tty=true", CHANNEL_V5) as socket:
            for message in (b"\x00hello", b"\x00", b'\x04{"Width":80,"Height":24}', b"\x04nonsense", b"\x09?", b"", b"\xff\x00"):
                await socket.send(message)
            heard = await node.heard(4)
        assert heard[1:] == [
            face.ExecRequest(stdin=b"hello"),
            face.ExecRequest(resize=face.TerminalSize(width=80, height=24)),
            face.ExecRequest(stdin_closed=True),
        ]
        await node.left_alone()

    async def test_half_close_is_a_word_of_v5_only(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=cat&stdin=true&stdout=true", CHANNEL_V4) as socket:
            await socket.send(b"\xff\x00")
            await socket.send(b"\x00x")
            assert (await node.heard(2))[1:] == [face.ExecRequest(stdin=b"x")]

    async def test_an_exit_code_arrives_whole(self, dial: Any, node: FakeNode) -> None:
        details = meta.StatusDetails(causes=[meta.StatusCause(reason="ExitCode", message="3")])
        failure = meta.Status(status="Failure", reason="NonZeroExitCode", message="exit 3", details=details)
        async with dial("command=x&stdout=true", CHANNEL_V4) as socket:
            node.output.put_nowait(face.ExecResponse(status=failure))
            frames = await received(socket)
        status = json.loads(frames[-1][1:])
        assert (status["reason"], status["details"]["causes"]) == ("NonZeroExitCode", [{"reason": "ExitCode", "message": "3"}])

    async def test_the_base_protocol_ends_with_plain_words(self, dial: Any, node: FakeNode) -> None:
        for protocols in ((CHANNEL_BASE,), ()):
            async with dial("command=x&stdout=true", *protocols) as socket:
                node.output.put_nowait(face.ExecResponse(status=meta.Status(status="Failure", message="exit 3")))
                assert (await received(socket))[-1] == b"\x03exit 3"

    async def test_an_error_of_the_node_is_the_last_word(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=x&stdout=true", CHANNEL_V5) as socket:
            node.output.put_nowait(status_error("ServiceUnavailable", "the kubelet of node node-1 cannot be reached"))
            frames = await received(socket)
        assert json.loads(frames[-1][1:])["message"] == "the kubelet of node node-1 cannot be reached"

    async def test_a_stream_without_a_status_failed(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=x&stdout=true", CHANNEL_V5) as socket:
            node.output.put_nowait(None)
            assert json.loads((await received(socket))[-1][1:])["reason"] == "InternalError"

    async def test_a_client_that_goes_away_ends_the_command(self, dial: Any, node: FakeNode) -> None:
        async with dial("command=sleep&stdin=true&stdout=true", CHANNEL_V5) as socket:
            await node.heard(1)
            socket.transport.abort()
        await node.left_alone()

    async def test_a_silent_stream_outlives_the_time_between_two_requests(
        self, dial: Any, node: FakeNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = Protocol.connection_made

        def impatient(self: Protocol, transport: Any) -> None:
            self.timeout_keep_alive = 0
            made(self, transport)

        monkeypatch.setattr(Protocol, "connection_made", impatient)
        async with dial("command=sleep&stdout=true", CHANNEL_V5) as socket, asyncio.timeout(5):
            await node.heard(1)
            await asyncio.sleep(0.1)
            await (await socket.ping())

    async def test_pings_are_answered(self, dial: Any) -> None:
        async with dial("command=sleep&stdout=true", CHANNEL_V5) as socket, asyncio.timeout(5):
            await (await socket.ping())

    async def test_stop_ends_commands(self, dial: Any, node: FakeNode, server: RestServer) -> None:
        async with dial("command=sleep&stdout=true", CHANNEL_V5) as socket:
            await node.heard(1)
            async with asyncio.timeout(5):
                await server.stop()
                await socket.wait_closed()
        await node.left_alone()

    @pytest.mark.parametrize(
        ("pod", "query", "protocols", "status", "words"),
        [
            ("none", "command=x&stdout=true", [CHANNEL_V5], 404, 'pods "none" not found'),
            ("two", "command=x&stdout=true", [CHANNEL_V5], 400, "a container name must be specified for pod two, choose one of: [a b]"),
            ("two", "command=x&stdout=true&container=z", [CHANNEL_V5], 400, "container z is not valid for pod two"),
            ("waiting", "command=x&stdout=true", [CHANNEL_V5], 400, "pod waiting does not have a host assigned"),
            ("one", "stdout=true", [CHANNEL_V5], 400, "you must specify at least 1 command for the container"),
            ("one", "command=x", [CHANNEL_V5], 400, "you must specify at least 1 of stdin, stdout, stderr"),
            ("one", "command=x&stdout=true", ["nope"], 400, "none of the offered WebSocket protocols is served"),
        ],
    )
    async def test_refusals(
        self, dial: Any, caplog: pytest.LogCaptureFixture, pod: str, query: str, protocols: list[str], status: int, words: str
    ) -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with dial(query, *protocols, pod=pod):
                pass
        response = caught.value.response
        assert response.status_code == status
        assert words in json.loads(response.body or b"{}")["message"]
        await asyncio.sleep(0)
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    async def test_anonymous_is_refused(self, server: RestServer, certificates: Certificates) -> None:
        url = f"wss://127.0.0.1:{server.port}{PODS}/one/exec?command=x&stdout=true"
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url, ssl=certificates.client, open_timeout=5):
                pass
        assert caught.value.response.status_code == 401

    async def test_other_upgrades_hear_why(self, client: HttpClient) -> None:
        other = {"connection": "Upgrade", "upgrade": "h2c"}
        answer = await client.request("POST", f"{PODS}/one/exec?command=x&stdout=true", None, **other)
        assert (answer.status, answer.json["message"]) == (400, "Upgrade request required")
        answer = await client.request("POST", f"{PODS}/none/exec?command=x&stdout=true")
        assert answer.status == 404
        answer = await client.get(f"{PODS}/one/exec?command=x&stdout=true")
        assert (answer.status, answer.json["message"]) == (400, "Upgrade request required")


def record_with_the_close(port: int, trust: ssl.SSLContext) -> bytes:
    """What a client that reads one TLS record at a time has of the record that closes an exec."""
    head = (
        f"GET {PODS}/one/exec?command=ls&stdout=true HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
        f"Sec-WebSocket-Protocol: {CHANNEL_V5}\r\n\r\n"
    )
    with trust.wrap_socket(create_connection(("127.0.0.1", port), timeout=5), server_hostname="127.0.0.1") as client:
        client.sendall(head.encode())
        while not (record := client.recv(65536)).endswith(CLOSED_NORMALLY):
            assert record
        return record


async def received(socket: ClientConnection) -> list[bytes]:
    async with asyncio.timeout(5):
        return [message if isinstance(message, bytes) else message.encode() async for message in socket]


def test_the_newest_common_protocol_is_chosen() -> None:
    assert choose_protocol([CHANNEL_V4, CHANNEL_V5]) == V5
    assert choose_protocol(["x", CHANNEL_V4]) == V4
    assert choose_protocol([]) == ""
    assert choose_protocol(["x"]) is None

"""The same streams by gRPC: attach, connections to ports, and requests that are passed on."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry
from knarr.machinery.errors import BadRequest, StatusError
from services.apiserver.api import Api
from services.apiserver.exchange import passed_call
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.servicer import ResourceServicer
from tests.apiserver.pipeline.world import World, fill, ref
from tests.apiserver.rest.streams.backend import Backend, LeadingNode, running_backend
from tests.apiserver.rest.streams.fake_node import pod

SECONDS = 10.0
NO_NAME: dict[str, Any] = {"x y": "a"}
POD = face.ResourceRef(resource="pods", namespace="default", name="web")


class Context:
    """Of an RPC without a deadline."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def time_remaining(self) -> None:
        return None

    def peer(self) -> str:
        return "ipv4:192.0.2.7:4711"

    async def send_initial_metadata(self, _: object) -> None:
        self.told.set()


@pytest.fixture
def node() -> LeadingNode:
    return LeadingNode()


@pytest.fixture
def servicer(pipeline: Pipeline, node: LeadingNode) -> ResourceServicer:
    return ResourceServicer(Api(dataclasses.replace(pipeline, node_streams=node)), registry())


@pytest.fixture
async def backend(node: LeadingNode) -> AsyncIterator[Backend]:
    async with running_backend() as backend:
        node.ports = {8080: backend.port, 80: backend.port}
        yield backend


@pytest.fixture(autouse=True)
async def placed(world: World) -> None:
    web = pod("web", "c")
    web.spec.containers[0].ports.add(container_port=8080)
    await fill(world, [web])
    web.status.pod_ip = "10.0.0.1"
    await world.caller.update(ref(core.Pod, "web", "status"), web, meta.UpdateOptions())
    world.forget()


async def sent(*requests: Any, hold: bool = False) -> AsyncIterator[Any]:
    for request in requests:
        yield request
    if hold:
        await asyncio.Event().wait()


async def answers(found: AsyncIterator[Any]) -> list[Any]:
    async with asyncio.timeout(SECONDS):
        return [answer async for answer in found]


def start(method: str = "GET", path: str = "/x", on: face.ResourceRef = POD, **headers: Any) -> face.ProxyRequest:
    made = face.ProxyRequest(start=face.ProxyStart(ref=on, method=method, path=path))
    for name, value in headers.items():
        made.start.headers.add(name=name.replace("_", "-"), value=value)
    return made


class TestProxy:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def test_a_request_with_its_body(self, servicer: ResourceServicer, backend: Backend, world: World, method: str) -> None:
        first = start(method, "/a%2Fb?x=1", content_length="6", Cookie="theirs=1", Authorization="Bearer x", X_Remote_User="root")
        head, *body = await answers(servicer.Proxy(sent(first, face.ProxyRequest(body=b"bo"), face.ProxyRequest(body=b"dy..")), Context()))
        assert (head.head.status, b"".join(piece.body for piece in body)) == (200, b"body..")
        assert {header.name: header.value for header in head.head.headers}["x-method"] == method
        ((heard, target, headers, _),) = backend.heard
        assert (heard, target, headers["cookie"], headers["x-forwarded-for"]) == (method, "/a%2Fb?x=1", "theirs=1", "192.0.2.7")
        assert headers["host"] == "10.0.0.1:8080"
        assert not headers.keys() & {"authorization", "x-remote-user"}
        verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        (asked,) = world.guard.asked
        assert (asked.verb, asked.subresource, asked.name) == (verbs.get(method, "get"), "proxy", "web")

    async def test_a_body_of_a_length_that_nobody_knows(self, servicer: ResourceServicer, backend: Backend) -> None:
        pieces = [face.ProxyRequest(body=piece) for piece in (b"abc", b"", b"de")]
        _, *body = await answers(servicer.Proxy(sent(start("POST", transfer_encoding="chunked"), *pieces), Context()))
        assert b"".join(piece.body for piece in body) == b"abcde"

    async def test_an_answer_as_it_comes(self, servicer: ResourceServicer, backend: Backend, node: LeadingNode) -> None:
        found = servicer.Proxy(sent(start(path="/stream"), hold=True), Context())
        async with asyncio.timeout(SECONDS):
            assert (await anext(found)).head.status == 200
            assert (await anext(found)).body == b"first"
            backend.held.set()
            assert (await anext(found)).body == b"second"
            assert await anext(found, None) is None
        await node.left_alone()

    async def test_redirects_are_told_as_they_come(self, servicer: ResourceServicer, backend: Backend) -> None:
        (head, *_) = await answers(servicer.Proxy(sent(start(path="/redirect?to=/there")), Context()))
        assert (head.head.status, [h.value for h in head.head.headers if h.name == "location"]) == (302, ["/there"])

    async def test_a_websocket(self, servicer: ResourceServicer, backend: Backend, node: LeadingNode) -> None:
        upgrade: dict[str, Any] = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
        first = start(path="/ws", Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", **upgrade)
        # A text of two letters, masked with zeros.
        frame = b"\x81\x82\0\0\0\0hi"
        found = servicer.Proxy(sent(first, face.ProxyRequest(body=frame), hold=True), Context())
        async with asyncio.timeout(SECONDS):
            head = (await anext(found)).head
            assert (head.status, [h.value for h in head.headers if h.name == "upgrade"]) == (101, ["websocket"])
            assert (await anext(found)).body == b"\x81\x07echo hi"
        await found.aclose()  # type: ignore[attr-defined]
        await node.left_alone()

    @pytest.mark.parametrize(
        ("first", "words"),
        [
            (face.ProxyRequest(body=b"x"), "the first request of Proxy carries `start`"),
            (
                start(on=face.ResourceRef(resource="configmaps", namespace="default", name="x")),
                "passed on to one of pods, services or nodes",
            ),
            (start(on=face.ResourceRef(resource="pods", namespace="default")), "passed on to one of pods, services or nodes"),
            (start(on=face.ResourceRef(resource="pods", name="web")), "a namespace is needed"),
            (start(path="x"), "begins with a slash"),
            (start(path="/x HTTP/1.1\r\nhost: y"), "has no blanks"),
            (start("get"), "in capital letters"),
            (start("PROPFIND"), "whose method is one of"),
            (start("CONNECT"), "whose method is one of"),
            (start(x="a\r\nb: c"), "header 'x' cannot be sent"),
            (start(**NO_NAME), "header 'x y' cannot be sent"),
        ],
    )
    async def test_what_is_no_request(self, servicer: ResourceServicer, first: face.ProxyRequest, words: str) -> None:
        with pytest.raises(BadRequest, match=words):
            await answers(servicer.Proxy(sent(first), Context()))

    async def test_more_headers_than_anybody_sends(self, servicer: ResourceServicer) -> None:
        first = start()
        for number in range(passed_call.MAX_HEADERS + 1):
            first.start.headers.add(name=f"x-{number}", value="y")
        with pytest.raises(BadRequest, match="at most 1024 headers"):
            await answers(servicer.Proxy(sent(first), Context()))

    async def test_nobody_listens(self, servicer: ResourceServicer) -> None:
        with pytest.raises(StatusError, match=r"error trying to reach service: dial tcp 10\.0\.0\.1:8080: connect: connection refused"):
            await answers(servicer.Proxy(sent(start()), Context()))

    async def test_one_that_never_answers(
        self, servicer: ResourceServicer, backend: Backend, node: LeadingNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passed_call, "ANSWER_SECONDS", 0.2)
        with pytest.raises(StatusError, match="no answer within 0 seconds"):
            await answers(servicer.Proxy(sent(start(path="/silent"), hold=True), Context()))
        await node.left_alone()

    async def test_an_answer_that_breaks_off(self, servicer: ResourceServicer, node: LeadingNode) -> None:
        async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            writer.close()

        async with await asyncio.start_server(half, "127.0.0.1", 0) as server:
            node.ports = {8080: server.sockets[0].getsockname()[1]}
            with pytest.raises(StatusError, match="unexpected EOF"):
                await answers(servicer.Proxy(sent(start()), Context()))


class TestPortForward:
    async def test_bytes_both_ways_and_the_half_close(self, servicer: ResourceServicer, node: LeadingNode, world: World) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while piece := await reader.read(100):
                writer.write(b"echo " + piece)
            writer.close()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            node.ports = {5432: server.sockets[0].getsockname()[1]}
            first = face.PortForwardRequest(start=face.PortForwardStart(namespace="default", pod="web", port=5432))
            context = Context()
            found = servicer.PortForward(sent(first, face.PortForwardRequest(data=b"hi"), hold=True), context)
            async with asyncio.timeout(SECONDS):
                assert (await anext(found)).data == b"echo hi"
            assert context.told.is_set()
            await found.aclose()  # type: ignore[attr-defined]
        assert node.asked[-1] == ("web", 5432, False)
        (asked,) = world.guard.asked
        assert (asked.verb, asked.subresource) == ("create", "portforward")
        await node.left_alone()

    @pytest.mark.parametrize(
        ("first", "words"),
        [
            (face.PortForwardRequest(data=b"x"), "the first request of PortForward carries `start`"),
            (face.PortForwardRequest(start=face.PortForwardStart(namespace="default", pod="web")), "port 0 is none"),
            (face.PortForwardRequest(start=face.PortForwardStart(namespace="default", pod="web", port=70_000)), "port 70000 is none"),
            (face.PortForwardRequest(start=face.PortForwardStart(namespace="default", pod="none", port=1)), 'pods "none" not found'),
            (face.PortForwardRequest(start=face.PortForwardStart(namespace="default", pod="web", port=1)), "connection refused"),
        ],
    )
    async def test_what_is_refused(self, servicer: ResourceServicer, first: face.PortForwardRequest, words: str) -> None:
        with pytest.raises(StatusError, match=words):
            await answers(servicer.PortForward(sent(first, hold=True), Context()))


class TestAttach:
    async def test_both_ways_and_the_status(self, servicer: ResourceServicer, node: LeadingNode, world: World) -> None:
        for item in (
            face.ExecResponse(stdout=b"out"),
            face.ExecResponse(stderr=b"err"),
            face.ExecResponse(status=meta.Status(status="Success")),
        ):
            node.output.put_nowait(item)
        begin = face.ExecStart(namespace="default", pod="web", command=["ignored"], stdin=True)
        requests = [face.AttachRequest(start=begin), face.AttachRequest(stdin=b"in"), face.AttachRequest(resize=face.TerminalSize(width=1))]
        found = servicer.Attach(sent(*requests, hold=True), Context())
        async with asyncio.timeout(SECONDS):
            told = [await anext(found) for _ in range(3)]
        await found.aclose()  # type: ignore[attr-defined]
        assert (told[0].stdout, told[1].stderr, told[2].status.status) == (b"out", b"err", "Success")
        (attached,) = node.asked
        assert (list(attached.command), attached.container) == ([], "c")
        (asked,) = world.guard.asked
        assert (asked.verb, asked.subresource) == ("create", "attach")

    async def test_it_begins_with_its_start(self, servicer: ResourceServicer) -> None:
        with pytest.raises(BadRequest, match="the first request of Attach carries `start`"):
            await answers(servicer.Attach(sent(face.AttachRequest(stdin=b"x")), Context()))

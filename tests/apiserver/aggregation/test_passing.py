"""Requests to a group version of an extension API server: what comes there, and what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web
from websockets.asyncio.client import connect

from knarr.machinery.errors import Forbidden
from knarr.service.authentication import User
from services.apiserver.aggregation.front_proxy import caller_headers
from services.apiserver.exchange.passing import Place, request_headers
from services.apiserver.rest import extensions
from tests.apiserver.aggregation.conftest import Cluster
from tests.apiserver.rest.conftest import TOKEN
from tests.apiserver.rest.http_client import HttpClient
from tests.support.extension import ROOT, ExtensionServer

FLUNDERS = f"{ROOT}/namespaces/default/flunders"
NODES = "/api/v1/nodes"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_who_asks_is_told_and_nothing_that_proves_it(cluster: Cluster, extension: ExtensionServer, method: str) -> None:
    await cluster.served(extension)
    forged = {"x_remote_user": "root", "x_remote_group": "system:masters", "x_remote_extra_a": "b", "x_remote_uid": "0"}
    answer = await cluster.rest.request(method, f"{FLUNDERS}/a%2Fb?x=%20&x=2", b'{"a":1}', **forged)
    assert (answer.status, answer.json, answer.headers["x-served-by"]) == (200, {"a": 1}, "wardle")
    heard, target, headers = extension.heard[-1]
    assert (heard, target) == (method, f"{FLUNDERS}/a%2Fb?x=%20&x=2")
    assert headers["x-remote-user"] == ["alice"]
    assert headers["x-remote-group"] == ["system:masters", "system:authenticated"]
    assert headers["x-remote-uid"] == ["1"]
    assert headers["host"] == ["api.wardle.svc"]
    assert not headers.keys() & {"authorization", "x-remote-extra-a", "x-forwarded-uri"}


def test_what_else_is_known_of_a_caller() -> None:
    extra = (("authentication.kubernetes.io/pod-name", ("web", "ä")), ("100% A", ("x\r\ny: z",)))
    assert caller_headers(User("sa", groups=("g", "h"), extra=extra)) == (
        (b"x-remote-user", b"sa"),
        (b"x-remote-group", b"g"),
        (b"x-remote-group", b"h"),
        (b"x-remote-extra-authentication.kubernetes.io%2fpod-name", b"web"),
        (b"x-remote-extra-authentication.kubernetes.io%2fpod-name", "ä".encode()),
        (b"x-remote-extra-100%25%20a", b"x y: z"),
    )


@pytest.mark.parametrize(
    "way", ["default/../other/flunders", "default/%2e%2e/other/flunders", "default%2f..%2fother/flunders", "./flunders"]
)
async def test_no_path_leads_elsewhere_than_it_is_judged_by(cluster: Cluster, extension: ExtensionServer, way: str) -> None:
    await cluster.served(extension)
    before = len(extension.heard)
    assert (await cluster.rest.get(f"{ROOT}/namespaces/{way}")).status == 400
    assert len(extension.heard) == before


@pytest.mark.parametrize("word", ["system:masters ", " system:masters", "system:masters\n", "system:\rmasters"])
def test_who_would_be_read_as_another_is_not_passed_on(word: str) -> None:
    for user in (User("sa", groups=(word,)), User(word), User("sa", word)):
        with pytest.raises(Forbidden, match="its blanks would be lost on the way"):
            caller_headers(user)
    assert caller_headers(User("Carol  Smith", groups=("two words",)))[0] == (b"x-remote-user", b"Carol  Smith")


def test_nobody_says_who_he_is_by_other_marks() -> None:
    said = [(b"x_remote_user", b"root"), (b"X-Remote_Group".lower(), b"system:masters"), (b"impersonate_user", b"root"), (b"x_other", b"1")]
    place = Place("", "/", "there", whole=True)
    assert {name for name, _ in request_headers(said, "192.0.2.1", place, upgrade=False)} & {name for name, _ in said} == {b"x_other"}


async def test_nobody_comes_by_without_a_name(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.served(extension)
    before = len(extension.heard)
    async with HttpClient(cluster.server.port, cluster.certificates.client) as stranger:
        assert (await stranger.get(FLUNDERS)).status == 401
    assert len(extension.heard) == before


async def test_a_watch_is_passed_on_as_it_comes(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.served(extension)
    await cluster.rest.send("GET", f"{FLUNDERS}?watch=1")
    assert (await cluster.rest.head()).status == 200
    assert orjson.loads(await cluster.rest.chunk()) == {"type": "ADDED"}
    extension.held.set()
    assert orjson.loads(await cluster.rest.chunk()) == {"type": "DELETED"}
    assert await cluster.rest.chunk() == b""


async def test_a_server_that_disappears_in_the_middle_of_a_watch(cluster: Cluster, extension: ExtensionServer) -> None:
    """Its client hears that the stream broke, and all others hear nothing."""
    await cluster.served(extension)
    connections: list[Any] = []

    async def watch(request: web.BaseRequest) -> web.StreamResponse:
        connections.append(request.transport)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED"}\n')
        await extension.held.wait()
        return response

    extension.play[FLUNDERS] = watch
    await cluster.rest.send("GET", f"{FLUNDERS}?watch=1")
    await cluster.rest.head()
    await cluster.rest.chunk()
    connections[0].abort()
    with pytest.raises(asyncio.IncompleteReadError):
        await cluster.rest.chunk()
    await cluster.rest.close()
    await cluster.rest.connect()
    assert (await cluster.rest.get(NODES)).status == 200
    await cluster.node.left_alone()


async def test_a_websocket(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.served(extension)
    url = f"wss://127.0.0.1:{cluster.server.port}{FLUNDERS}/x/exec?command=a"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    protocols = ["v5.channel.k8s.io"]
    async with connect(url, ssl=cluster.certificates.client, subprotocols=protocols, additional_headers=headers) as socket:  # type: ignore[arg-type]
        await socket.send(b"one")
        assert await socket.recv() == b"\x01one"
        assert socket.subprotocol == "v5.channel.k8s.io"
    assert extension.heard[-1][2]["x-remote-user"] == ["alice"]
    await cluster.node.left_alone()


async def test_a_large_body_both_ways(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.served(extension)
    body = b'"%b"' % (b"x" * 900_000)
    assert (await cluster.rest.request("POST", FLUNDERS, body)).body == body


async def test_a_redirect_is_not_followed(cluster: Cluster, extension: ExtensionServer) -> None:
    async def redirect(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "https://10.0.0.1/secret"})

    await cluster.served(extension)
    extension.play[FLUNDERS] = redirect
    answer = await cluster.rest.get(FLUNDERS)
    assert (answer.status, answer.body.decode()) == (502, extensions.REDIRECTED)
    assert "location" not in answer.headers
    await cluster.node.left_alone()


async def test_half_an_answer_is_half_an_answer(cluster: Cluster, extension: ExtensionServer) -> None:
    async def half(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    await cluster.served(extension)
    extension.play[FLUNDERS] = half
    with pytest.raises(asyncio.IncompleteReadError):
        await cluster.rest.get(FLUNDERS)


async def test_one_that_never_answers(cluster: Cluster, extension: ExtensionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        await extension.held.wait()
        return web.Response()

    await cluster.served(extension)
    extension.play = {FLUNDERS: silent, ROOT: silent}
    for name in ("REQUEST_SECONDS", "DISCOVERY_SECONDS"):
        monkeypatch.setattr(extensions, name, 0.2)
    for path in (FLUNDERS, ROOT):
        answer = await cluster.rest.get(path)
        assert (answer.status, answer.body) == (503, b"error trying to reach service: no answer within 0 seconds\n")
    assert (await cluster.rest.get(NODES)).status == 200
    await cluster.node.left_alone()


async def test_other_methods_are_refused(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.served(extension)
    assert (await cluster.rest.request("TRACE", FLUNDERS)).status == 405

"""A terminal: what is typed comes back as the container says, sizes are passed on, each end is told, and no stranger gets one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.web import face as page_server
from services.web.server import PageServer
from services.web.terminal import RESIZE, ending, resized
from tests.apiserver.rest.live import LiveServer
from tests.web.conftest import Browser


@pytest.fixture(scope="module")
def pod(cluster: LiveServer) -> str:
    """A pod that runs on a node whose containers echo."""
    container = core.Container(name="web", image="web:1")

    async def make() -> None:
        await cluster.client.create(core.Node(metadata=meta.ObjectMeta(name="node-1")))
        metadata = meta.ObjectMeta(name="web", namespace="default")
        made = await cluster.client.create(core.Pod(metadata=metadata, spec=core.PodSpec(node_name="node-1", containers=[container])))
        made.status.phase = "Running"
        made.status.container_statuses.add(name="web", ready=True).state.running.SetInParent()
        await cluster.client.update(made, subresource="status")

    cluster.call(make())
    return "web"


def place(*command: str, pod: str = "web") -> str:
    query = [("namespace", "default"), ("pod", pod), ("container", "web"), *(("command", word) for word in command)]
    return f"/terminal?{urlencode(query)}"


@asynccontextmanager
async def opened(browser: Browser, path: str, **headers: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    own = {"Origin": browser.origin, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "websocket"}
    own |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with asyncio.timeout(10), browser.session.ws_connect(browser.origin + path, headers=own) as socket:
        yield socket


async def ended(socket: aiohttp.ClientWebSocketResponse) -> tuple[bytes, str]:
    """All that was shown, and how it ended."""
    shown = b""
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            return shown, orjson.loads(message.data)["ended"]
        shown += message.data
    raise AssertionError(f"no end was told after {shown!r}")


async def test_what_is_typed_is_answered_until_the_browser_goes(pod: str, browser: Browser, page: PageServer) -> None:
    async with opened(browser, place("cat")) as socket:
        await socket.send_str('{"columns":100,"rows":30}')
        await socket.send_bytes("안녕\n".encode())
        assert (await socket.receive_bytes()).decode() == "안녕\n"
        assert len(page.desk.terminals) == 1
    async with asyncio.timeout(5):
        while page.desk.terminals:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_how_a_command_ended_is_told(pod: str, browser: Browser) -> None:
    async with opened(browser, place("echo", "hello there")) as socket:
        assert await ended(socket) == (b"echo hello there\n", "")
    async with opened(browser, place("exit", "3")) as socket:
        shown, words = await ended(socket)
        # What a terminal shows of errors comes by its one stream.
        assert shown == b"" and "exit status 3" in words


async def test_what_the_api_server_refuses_is_told_in_its_words(pod: str, browser: Browser) -> None:
    async with opened(browser, place("sh", pod="none")) as socket:
        assert await ended(socket) == (b"", 'pods "none" not found')


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": ""}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Dest": "iframe"}]
)
async def test_another_page_gets_no_terminal(pod: str, browser: Browser, headers: dict[str, str]) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(browser, place("cat"), **headers):
            pass
    assert refused.value.status == 403


async def test_a_stranger_gets_no_terminal(pod: str, stranger: Browser) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(stranger, place("cat")):
            pass
    assert refused.value.status == 401


async def test_there_is_a_last_terminal(pod: str, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "MOST_TERMINALS", 1)
    async with opened(browser, place("cat")) as first:
        await first.send_bytes(b"x")
        await first.receive_bytes()
        async with opened(browser, place("cat")) as second:
            assert (await ended(second))[1].startswith("there are 1 terminals")


def test_only_sizes_are_passed_on() -> None:
    assert resized('{"columns": 80, "rows": 24}') == bytes([RESIZE]) + b'{"Width":80,"Height":24}'
    for words in ("", "[]", '{"columns":80}', '{"columns":"80","rows":24}', '{"columns":0,"rows":24}', '{"columns":99999,"rows":24}'):
        assert resized(words) is None


def test_an_end_is_told_by_its_message_or_at_least_its_reason() -> None:
    assert ending({"status": "Success"}) == ending(None) == ""
    assert ending({"status": "Failure", "message": "no such file"}) == "no such file"
    assert ending({"status": "Failure", "reason": "InternalError"}) == "InternalError"

"""/exec, /attach and /portForward of a kubelet's HTTPS, in each dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from knarr.service import presence
from knarr.service.spdy import session as spdy_session
from knarr.service.streams.forwards import TUNNEL
from services.kubelet.web.rights import rights
from tests.apiserver.rest.streams.flood import held_up, over_a_websocket, over_spdy
from tests.apiserver.rest.streams.spdy_client import everything, spdy
from tests.kubelet.web.served import TOKEN, ScriptedRuntime, Served, serving

EXEC, ATTACH, FORWARD = "/exec/default/web/app", "/attach/default/web/app", "/portForward/default/web"
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(ScriptedRuntime(), tmp_path) as found:
        yield found


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [EXEC, ATTACH, FORWARD, "/run/default/web/app"])
def test_to_do_something_is_no_reading(path: str, method: str) -> None:
    assert [(right.verb, right.subresource) for right in rights(method, path, "node-1")] == [("create", "proxy")]
    assert [right.verb for right in rights("PROPFIND", path, "node-1")] == [""]


class TestCommands:
    @pytest.mark.parametrize("dialect", [over_a_websocket, over_spdy])
    async def test_a_client_that_vanishes_while_it_is_held_up(self, served: Served, dialect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(presence, "LOOK_SECONDS", 0.05)
        monkeypatch.setattr(spdy_session, "HELD_UP_SECONDS", 0.05)
        path = f"{ATTACH}?input=1&output=1&tty=1"
        transport, say = await dialect(served.port, served.context, path, TOKEN, ("error", "stdout", "resize", "stdin"))
        await held_up(say)
        transport.abort()
        async with asyncio.timeout(5):
            while not served.sessions[0].closed:  # noqa: ASYNC110  a session has no event
                await asyncio.sleep(0.005)

    @pytest.mark.parametrize("path", [f"{EXEC}?command=0&input=1&output=1", f"{ATTACH}?input=1&output=1"])
    async def test_by_socket(self, served: Served, path: str) -> None:
        async with asyncio.timeout(10), served.socket(path, V4, V5) as client:
            assert client.subprotocol == V5
            assert await client.recv() == b"\x01"
            await client.send(b"\x00hello")
            assert await client.recv() == b"\x01hello"
            await client.send(b"\xff\x00")
            assert json.loads((await _bytes(client))[1:]) == SUCCESS
            await client.wait_closed()
            assert client.close_code == 1000
        assert [session.closed for session in served.sessions] == [True]

    @pytest.mark.parametrize("path", [f"{EXEC}?command=3&input=1&output=1", "/exec/default/web/%s/app?command=3&input=1&output=1"])
    async def test_by_spdy(self, served: Served, path: str) -> None:
        pod = served.cluster.pod()
        assert pod is not None
        named = path.replace("%s", pod.metadata.uid)
        async with asyncio.timeout(10), spdy(served.port, served.context, named, V5, V4, token=TOKEN) as client:
            assert client.answer.headers["x-stream-protocol-version"] == V4
            error, stdin, stdout = [await client.open(kind) for kind in ("error", "stdin", "stdout")]
            await stdin.write(b"hello")
            await stdin.close()
            assert await everything(stdout) == b"hello"
            told = json.loads(await everything(error))
            assert (told["reason"], told["details"]["causes"]) == ("NonZeroExitCode", [{"reason": "ExitCode", "message": "3"}])

    async def test_protocols_named_apart(self, served: Served) -> None:
        """As Go's client sends them: a header each."""
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.context)
        offered = "".join(f"X-Stream-Protocol-Version: {name}\r\n" for name in (V5, V4, "channel.k8s.io"))
        head = f"POST {EXEC}?command=0&output=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n"
        writer.write(f"{head}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{offered}\r\n".encode())
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n") and f"X-Stream-Protocol-Version: {V4}\r\n".encode() in answer
        writer.close()

    async def test_a_terminal(self, served: Served) -> None:
        async with asyncio.timeout(10), served.socket(f"{ATTACH}?input=1&output=1&error=1&tty=1", V4) as client:
            assert await client.recv() == b"\x01"
            await client.send(b'\x04{"Width":80,"Height":24}')
            assert await client.recv() == b"\x0180x24"

    async def test_a_command_that_cannot_be(self, served: Served) -> None:
        async with asyncio.timeout(10), served.socket(f"{EXEC}?command=nothing&output=1", V5) as client:
            await client.recv()
            told = json.loads((await _bytes(client))[1:])
            assert told["status"] == "Failure"
            assert told["message"] == "Internal error occurred: error executing command in container: nothing: no such file"

    async def test_a_client_that_goes(self, served: Served) -> None:
        for _ in range(3):
            async with served.socket(f"{ATTACH}?input=1&output=1", V5) as client:
                await client.recv()
                client.transport.abort()
        await served.cluster.until(lambda: len(served.sessions) == 3 and all(session.closed for session in served.sessions))
        await served.cluster.until(lambda: not served.shared._web)

    async def test_the_end_of_the_server(self, served: Served) -> None:
        async with asyncio.timeout(10), served.socket(f"{ATTACH}?input=1&output=1", V5) as client:
            await client.recv()
            await served.shared.stop(5)
            with suppress(ConnectionClosed):
                await client.recv()
        assert [session.closed for session in served.sessions] == [True]

    @pytest.mark.parametrize(
        ("path", "status", "words"),
        [
            ("/exec/default/web/app?command=0&output=1", 400, b"Upgrade request required"),
            ("/exec/default/web/app?output=1", 400, b"at least 1 command"),
            ("/exec/default/web/app?command=0", 400, b"at least 1 of stdin, stdout, stderr"),
            ("/exec/default/web", 400, b"ask for /exec/"),
            ("/exec/default/none/app?command=0&output=1", 404, b"not found"),
            ("/exec/default/web/other-uid/app?command=0&output=1", 404, b"not found"),
            ("/attach/default/web/none?output=1", 400, b"is not valid for pod web"),
            ("/portForward/default", 400, b"ask for /portForward/"),
            ("/portForward/default/none", 404, b"not found"),
        ],
    )
    async def test_bad_requests(self, served: Served, path: str, status: int, words: bytes) -> None:
        found, body = await served.status(path)
        assert found == status and words in body

    async def test_dialects_that_nobody_speaks(self, served: Served) -> None:
        upgrade = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "v9"}
        status, body = await served.status(f"{EXEC}?command=0&output=1", "POST", **upgrade)
        assert status == 403 and b"client supports [v9]" in body
        for path in (f"{EXEC}?command=0&output=1", f"{FORWARD}?port=7"):
            with pytest.raises(InvalidStatus) as refused:
                async with served.socket(path, "v9"):
                    pass
            assert refused.value.response.status_code == 400
        status, body = await served.status(f"{EXEC}?command=0&output=1", "POST", connection="Upgrade", upgrade="websocket")
        assert status == 400 and b"no handshake" in body


class TestPorts:
    async def test_by_numbered_channels(self, served: Served) -> None:
        async with asyncio.timeout(10), served.socket(f"{FORWARD}?port=7&port=8", V4) as client:
            first = {await _bytes(client) for _ in range(4)}
            assert first == {b"\x00\x07\x00", b"\x01\x07\x00", b"\x02\x08\x00", b"\x03\x08\x00"}
            words = await _bytes(client)
            assert words[:1] == b"\x03" and b"error forwarding port 8 to pod web" in words
            await client.send(b"\x00ping")
            assert await client.recv() == b"\x00ping"

    async def test_by_spdy(self, served: Served) -> None:
        async with asyncio.timeout(10), spdy(served.port, served.context, FORWARD, "portforward.k8s.io", token=TOKEN) as client:
            error = await client.open("error", port="7", requestID="0")
            data = await client.open("data", port="7", requestID="0")
            await data.write(b"x" * 100_000)
            await data.close()
            assert await everything(data) == b"x" * 100_000
            assert await everything(error) == b""

    async def test_by_a_tunnel(self, served: Served) -> None:
        uri, headers = f"https://127.0.0.1:{served.port}{FORWARD}", {"Authorization": f"Bearer {TOKEN}"}
        async with (
            asyncio.timeout(10),
            # Its protocol's name is no token, which the other library insists on.
            aiohttp.ClientSession() as http,
            http.ws_connect(uri, ssl=served.context, protocols=[TUNNEL, V4], headers=headers) as client,
        ):
            assert client.protocol == TUNNEL
            # A SPDY ping is answered by the same.
            ping = bytes.fromhex("800300060000000400000001")
            await client.send_bytes(ping)
            assert await client.receive_bytes() == ping


async def _bytes(client: ClientConnection) -> bytes:
    message = await client.recv()
    assert isinstance(message, bytes)
    return message

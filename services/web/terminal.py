"""A terminal in a container: between a browser's WebSocket and that of the API server, which runs the command as the viewer.

What a browser sends as bytes is typed, and as text is the size of its terminal, `{"columns": 80, "rows": 24}`; it gets bytes to show and,
at last, a text that says how it ended: `{"ended": "exit status 1"}`, of which nothing is left to say where it ended well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from aiohttp import WSMsgType, web

from services.web.api import Api, Refused, silence

PROTOCOL = "v5.channel.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
# What a browser may send at once: a large paste.
MOST_TYPED_BYTES = 1024 * 1024
MOST_CELLS = 5000
BEAT_SECONDS, STUCK_SECONDS = 20.0, 60.0

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where which command is to run."""

    namespace: str
    pod: str
    container: str
    command: Sequence[str]

    @property
    def path(self) -> str:
        options = [("container", self.container), ("stdin", "1"), ("stdout", "1"), ("tty", "1")]
        options += [("command", word) for word in self.command]
        return f"/api/v1/namespaces/{quote(self.namespace, safe='')}/pods/{quote(self.pod, safe='')}/exec?{urlencode(options)}"


def resized(text: str) -> bytes | None:
    """A browser's words about its terminal as the API server wants them; None for what says no size."""
    try:
        said = orjson.loads(text)
        columns, rows = said["columns"], said["rows"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not all(isinstance(cells, int) and 0 < cells <= MOST_CELLS for cells in (columns, rows)):
        return None
    return bytes([RESIZE]) + orjson.dumps({"Width": columns, "Height": rows})


def ending(status: Any) -> str:
    """A Status in which a command's end is told, in words; empty where it ended well."""
    if not isinstance(status, dict) or status.get("status") == "Success":
        return ""
    return str(status.get("message") or status.get("reason") or "it failed")


async def show(api: Api, place: Place, browser: web.WebSocketResponse) -> None:
    """Runs the command until it ends or the browser goes, and says how it ended."""
    try:
        said = await _joined(api, place, browser)
    except Refused as error:
        said = str(error)
    except (aiohttp.ClientError, OSError) as error:
        said = silence(error)
    if not browser.closed:
        await tell_end(browser, said)


async def tell_end(browser: web.WebSocketResponse, words: str) -> None:
    await browser.send_str(orjson.dumps({"ended": words}).decode())


async def _joined(api: Api, place: Place, browser: web.WebSocketResponse) -> str:
    try:
        async with api.socket(place.path, [PROTOCOL]) as container:
            typing = asyncio.create_task(_type(browser, container), name="terminal typing")
            try:
                return await _print(container, browser, typing)
            finally:
                typing.cancel()
                await asyncio.wait([typing])
    except aiohttp.WSServerHandshakeError as error:
        # Why a WebSocket was refused is told to whoever asks in HTTP.
        await api.json("GET", place.path)
        raise Refused(error.status, error.message) from error


async def _type(browser: web.WebSocketResponse, container: aiohttp.ClientWebSocketResponse) -> None:
    """Until the browser goes; then the container's end is closed, which ends the other direction, too."""
    async for message in browser:
        if message.type is WSMsgType.BINARY:
            await container.send_bytes(bytes([STDIN]) + message.data)
        elif message.type is WSMsgType.TEXT and (size := resized(message.data)) is not None:
            await container.send_bytes(size)
    await container.close()


async def _print(container: aiohttp.ClientWebSocketResponse, browser: web.WebSocketResponse, typing: asyncio.Task[None]) -> str:
    """Until the command ends; how, in words."""
    async for message in container:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        # As in Kubernetes, channels begin with a message that is empty.
        if channel in (STDOUT, STDERR) and data:
            # One that takes nothing is gone.
            async with asyncio.timeout(STUCK_SECONDS):
                await browser.send_bytes(data)
        elif channel == ERROR:
            return ending(orjson.loads(data))
    return "" if typing.done() else "the connection to the container is lost"

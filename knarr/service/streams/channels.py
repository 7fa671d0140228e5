"""The channel protocol of exec and attach: one byte names the channel of each WebSocket message.

Sub-protocols: ``v5.channel.k8s.io`` (with CLOSE, the half-close of stdin), ``v4.channel.k8s.io`` (channel 3
ends with a Status) and the base ``channel.k8s.io`` (channel 3 ends with the message of a failure); the
``base64.`` ones are not offered.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.service.streams.socket import Socket

V5, V4, BASE = "v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"
PROTOCOLS = (V5, V4, BASE)

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


@dataclass(frozen=True, slots=True)
class Input:
    data: bytes


@dataclass(frozen=True, slots=True)
class InputClosed:
    """No more input comes."""


@dataclass(frozen=True, slots=True)
class Resize:
    """Columns and rows of the client's terminal."""

    width: int
    height: int


def choose_protocol(offered: list[str]) -> str | None:
    """The newest protocol that both sides speak; a client that offers none gets the base one (empty)."""
    if not offered:
        return ""
    return next((protocol for protocol in PROTOCOLS if protocol in offered), None)


def decode(message: bytes, protocol: str) -> Input | InputClosed | Resize | None:
    """What a client's message says; None when it says nothing that is understood."""
    if not message:
        return None
    channel, data = message[0], message[1:]
    if channel == STDIN:
        return Input(data)
    if channel == RESIZE:
        return resize(data)
    if channel == CLOSE and protocol == V5 and data[:1] == bytes((STDIN,)):
        return InputClosed()
    return None


def resize(data: bytes) -> Resize | None:
    """What a message about the terminal says; None when it says nothing."""
    try:
        size = orjson.loads(data)
        width, height = int(size["Width"]), int(size["Height"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return Resize(width, height) if 0 <= width < 65536 and 0 <= height < 65536 else None


def encode(channel: int, data: bytes) -> bytes:
    return bytes((channel,)) + data


def last_words(status: meta.Status, protocol: str) -> bytes:
    """How the command ended, as the error channel says it."""
    if protocol in (V5, V4):
        return codec.to_json(status)
    return b"" if status.status == "Success" else status.message.encode()


class SocketPeer:
    """A client behind a WebSocket that was accepted."""

    def __init__(self, protocol: str, socket: Socket) -> None:
        self._protocol, self._socket = protocol, socket

    async def greet(self, start: face.ExecStart) -> None:
        """An empty message on the lowest channel tells the client that the connection stands."""
        await self.write(STDOUT if start.stdout else STDERR if start.stderr else ERROR, b"")

    async def read(self) -> face.ExecRequest | None:
        while (message := await self._socket.read()) is not None:
            match decode(message, self._protocol):
                case Input(data) if data:
                    return face.ExecRequest(stdin=data)
                case InputClosed():
                    return face.ExecRequest(stdin_closed=True)
                case Resize(width, height):
                    return face.ExecRequest(resize=face.TerminalSize(width=width, height=height))
        return None

    async def write(self, channel: int, data: bytes) -> None:
        await self._socket.write(encode(channel, data))

    async def end(self, status: meta.Status) -> None:
        """The last word and the close, in one piece."""
        await self._socket.close(encode(ERROR, last_words(status, self._protocol)))

    async def close(self) -> None:
        """Closes it where no last word did."""
        await self._socket.close()

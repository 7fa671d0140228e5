"""exec and attach over SPDY/3.1: a stream for each channel, which says in its header ``streamType`` which one it is.

``v4.channel.k8s.io`` ends with a Status on the error stream; the earlier ones, and clients that name none, with the words of a failure.
From v3 on a terminal has a stream of its sizes.
"""

from __future__ import annotations

import asyncio

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import bad_request
from knarr.service.pipe import Pipe
from knarr.service.spdy.errors import ProtocolViolation, StreamClosed
from knarr.service.spdy.session import Session, Stream
from knarr.service.streams import channels
from knarr.service.streams.conversation import Command, Conversation
from knarr.service.tasks import cancel

V4, V3, V2, V1 = PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
# A client may take so long to open its streams.
OPENING_SECONDS = 30.0
# A terminal's size takes 30 bytes or so; what grows larger without being one is thrown away.
RESIZE_BYTES = 1024
_OUTPUT = {channels.STDOUT: "stdout", channels.STDERR: "stderr"}


async def converse(pipe: Pipe, protocol: str, start: face.ExecStart, command: Command, ending: asyncio.Event) -> None:
    """Runs the command with the client behind ``pipe``, to the end."""
    peer = SpdyPeer(pipe, protocol, expected_streams(start, protocol))
    running = asyncio.create_task(peer.run(), name="exec spdy")
    try:
        opened = asyncio.create_task(peer.complete.wait(), name="exec spdy opening")
        await asyncio.wait({opened, running}, timeout=OPENING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        await cancel([opened])
        if not peer.complete.is_set():
            await peer.end(bad_request("timed out waiting for client to create streams").status)
        elif not running.done():
            await Conversation(command, start, peer).run(ending)
        await peer.session.leave(running)
    finally:
        await cancel([running])


def expected_streams(start: face.ExecStart, protocol: str) -> frozenset[str]:
    """The types of streams that a client opens before its command begins."""
    wanted = {"error": True, "stdin": start.stdin, "stdout": start.stdout, "stderr": start.stderr and not start.tty}
    wanted["resize"] = start.tty and protocol in (V4, V3)
    return frozenset(name for name, is_wanted in wanted.items() if is_wanted)


class SpdyPeer:
    """A client of which ``expected`` streams are needed; ``complete`` is set when they are there."""

    def __init__(self, pipe: Pipe, protocol: str, expected: frozenset[str]) -> None:
        self.session = Session(pipe, self._opened)
        self.complete = asyncio.Event()
        self._protocol, self._expected = protocol, expected
        self._streams: dict[str, Stream] = {}
        self._heard: asyncio.Queue[face.ExecRequest | None] = asyncio.Queue(1)
        self._readers: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until the client is gone."""
        try:
            await self.session.run()
        except ProtocolViolation:
            return
        finally:
            await cancel(self._readers)
            if self._heard.full():
                self._heard.get_nowait()
            self._heard.put_nowait(None)

    def _opened(self, stream: Stream) -> None:
        kind = stream.headers.get("streamtype", "")
        if kind in self._streams or kind not in ("error", "stdin", "stdout", "stderr", "resize"):
            # What came on it would be read by nobody, and hold up the others.
            self.session.refuse(stream)
            return
        self._streams[kind] = stream
        if kind == "stdin":
            self._readers.append(asyncio.create_task(self._read_stdin(stream), name="exec spdy stdin"))
        elif kind == "resize":
            self._readers.append(asyncio.create_task(self._read_sizes(stream), name="exec spdy resize"))
        if self._expected <= self._streams.keys():
            self.complete.set()

    async def _read_stdin(self, stream: Stream) -> None:
        while data := await stream.read():
            await self._heard.put(face.ExecRequest(stdin=data))
        await self._heard.put(face.ExecRequest(stdin_closed=True))

    async def _read_sizes(self, stream: Stream) -> None:
        """Sizes follow one another as JSON objects; one may come in pieces."""
        text = b""
        while data := await stream.read():
            text += data
            *whole, text = text.replace(b"}", b"}\n").split(b"\n")
            for size in filter(None, map(channels.resize, whole)):
                await self._heard.put(face.ExecRequest(resize=face.TerminalSize(width=size.width, height=size.height)))
            text = text[:RESIZE_BYTES]

    async def read(self) -> face.ExecRequest | None:
        return await self._heard.get()

    async def write(self, channel: int, data: bytes) -> None:
        if (stream := self._streams.get(_OUTPUT[channel])) is not None:
            try:
                await stream.write(data)
            except StreamClosed:
                # The client does not want to hear it any more.
                return

    async def end(self, status: meta.Status) -> None:
        for kind in ("stdout", "stderr"):
            if kind in self._streams:
                await self._streams[kind].close()
        if (error := self._streams.get("error")) is not None:
            try:
                if words := channels.last_words(status, self._protocol):
                    await error.write(words)
            except StreamClosed:
                return
            await error.close()

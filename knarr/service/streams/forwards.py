"""port-forward: connections to the ports of a pod, in the dialects of its clients.

kubectl and client-go speak SPDY/3.1, over the connection itself or within the messages of a WebSocket (``SPDY/3.1+portforward.k8s.io``):
a pair of streams for each connection, ``data`` and ``error``, that name their port and request in their headers. The Python clients speak a
WebSocket of their own: two channels for each port of the query, for one connection each; both begin with the port in two bytes,
little-endian.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from knarr.machinery.errors import StatusError, bad_request
from knarr.service.pipe import Pipe
from knarr.service.spdy.errors import ProtocolViolation, StreamClosed
from knarr.service.spdy.session import Session, Stream
from knarr.service.streams import channels
from knarr.service.streams.socket import Socket, SocketPipe
from knarr.service.tasks import cancel

SPDY_PROTOCOLS = ("portforward.k8s.io",)
TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHANNELS = ("v4.channel.k8s.io",)
# A client may take so long to open the second stream of a pair.
PAIRING_SECONDS = 30.0
# Of the Python clients, which say in the query what they connect to; a channel's number is a byte.
PORTS = 127
CHANNEL_QUEUE = 16

Write = Callable[[bytes], Awaitable[None]]
# A way to the ports of a pod; given a port and what is to be said to it, answers what that says.
Forward = Callable[[int, AsyncIterator[bytes]], AsyncIterator[bytes]]


def choose_protocol(offered: Sequence[str]) -> str | None:
    """What is spoken over a WebSocket; None with a client that offers nothing. Raises BadRequest where nothing of it is served."""
    if not offered:
        return None
    for protocol in (TUNNEL, *CHANNELS):
        if protocol in offered:
            return protocol
    raise bad_request(f"none of the offered WebSocket protocols is served: {TUNNEL}, {', '.join(CHANNELS)}")


async def forward_by_socket(
    socket: Socket, protocol: str | None, ports: Sequence[int], pod: str, forward: Forward, ending: asyncio.Event
) -> None:
    """Serves the connections of a client behind a WebSocket to the end, and closes it. ``ports`` are needed but for TUNNEL."""
    if protocol == TUNNEL:
        await SpdyForwards(SocketPipe(socket), pod, forward).run(ending)
    else:
        await ChannelForwards(ports, pod, forward, socket).run(ending)
    await socket.close()


def ports_of(values: Iterable[str], *, needed: bool = True) -> list[int]:
    """The ports in the values of a query's ``ports`` and ``port``, repeated or with commas between them; raises BadRequest."""
    texts = [text for value in values for text in value.split(",")]
    if needed and not texts:
        raise bad_request('query parameter "ports" is required')
    if len(texts) > PORTS:
        raise bad_request(f"{PORTS} ports may be forwarded to at most")
    return [port_of(text) for text in texts]


def port_of(text: str) -> int:
    """Raises BadRequest for what is no port."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise bad_request(f"unable to parse {text!r} as a port")
    return int(text)


async def connect(forward: Forward, pod: str, port: int, said: AsyncIterator[bytes], tell: Write) -> str:
    """One connection, to its end; answers why it could not be made, or broke: empty when it was as it should be."""
    answers = forward(port, said)
    try:
        async for data in answers:
            await tell(data)
    except StatusError as error:
        return f"error forwarding port {port} to pod {pod}: {error.status.message}"
    finally:
        if isinstance(answers, AsyncGenerator):
            await answers.aclose()
    return ""


async def until_first(ending: asyncio.Event, *parts: asyncio.Task[None]) -> None:
    """Until one of them ends, or the server does; cancels the others. Raises what a part raised that is not the client's doing."""
    tasks = [*parts, asyncio.create_task(ending.wait(), name="portforward end")]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(tasks)
    for part in parts:
        if not part.cancelled() and (error := part.exception()) is not None and not isinstance(error, OSError | ProtocolViolation):
            raise error


@dataclass(frozen=True, slots=True)
class Half:
    """A stream that waits for the other one of its pair, and what gives it up."""

    kind: str
    stream: Stream
    expiry: asyncio.TimerHandle


class SpdyForwards:
    """The connections of one client that speaks SPDY."""

    def __init__(self, pipe: Pipe, pod: str, forward: Forward) -> None:
        self._pod, self._forward = pod, forward
        self._session = Session(pipe, self._opened)
        self._halves: dict[str, Half] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ending: asyncio.Event) -> None:
        """Until the client is gone, or the server stops."""
        running = asyncio.create_task(self._session.run(), name="portforward spdy")
        try:
            await until_first(ending, running)
        finally:
            for half in self._halves.values():
                half.expiry.cancel()
            await cancel([running, *self._tasks])

    def _opened(self, stream: Stream) -> None:
        kind, request = stream.headers.get("streamtype", ""), request_id(stream)
        half = self._halves.get(request)
        if kind not in ("data", "error") or (half is not None and half.kind == kind):
            self._session.refuse(stream)
        elif half is None:
            expiry = asyncio.get_running_loop().call_later(PAIRING_SECONDS, self._expire, request)
            self._halves[request] = Half(kind, stream, expiry)
        else:
            half.expiry.cancel()
            del self._halves[request]
            data, error = (stream, half.stream) if kind == "data" else (half.stream, stream)
            self._start(self._connect(data, error))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="portforward connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _expire(self, request: str) -> None:
        self._start(self._halves.pop(request).stream.reset())

    async def _connect(self, data: Stream, error: Stream) -> None:
        with suppress(OSError, StreamClosed):
            if words := await self._relay(data):
                await error.write(words.encode())
            await error.close()
            await data.close()
        # What still comes is nobody's; left unread, it would hold up the other streams.
        while await data.read():
            pass

    async def _relay(self, data: Stream) -> str:
        try:
            port = port_of(data.headers.get("port", ""))
        except StatusError as refusal:
            return refusal.status.message
        async with aclosing(pieces(data)) as said:
            return await connect(self._forward, self._pod, port, said, data.write)


def request_id(stream: Stream) -> str:
    """What a pair has in common. The oldest clients do not name it: they open an error stream and, next, its data stream."""
    if found := stream.headers.get("requestid"):
        return found
    return str(stream.number - 2 if stream.headers.get("streamtype") == "data" else stream.number)


async def pieces(stream: Stream) -> AsyncGenerator[bytes, None]:
    while data := await stream.read():
        yield data


class ChannelForwards:
    """The connections of one client whose channels are numbered: of each port one for data and, next, one for what went wrong."""

    def __init__(self, ports: Sequence[int], pod: str, forward: Forward, socket: Socket) -> None:
        self._ports, self._pod, self._forward = ports, pod, forward
        self._socket = socket
        self._said = {2 * index: asyncio.Queue[bytes](CHANNEL_QUEUE) for index in range(len(ports))}

    async def run(self, ending: asyncio.Event) -> None:
        """Until all connections have ended, the client is gone or the server stops."""
        for index, port in enumerate(self._ports):
            for channel in (2 * index, 2 * index + 1):
                await self._tell(channel, port.to_bytes(2, "little"))
        connections = asyncio.create_task(self._connect_all(), name="portforward channels")
        await until_first(ending, connections, asyncio.create_task(self._read(), name="portforward input"))

    async def _tell(self, channel: int, data: bytes) -> None:
        await self._socket.write(channels.encode(channel, data))

    async def _read(self) -> None:
        """Returns when the client is gone."""
        while (data := await self._socket.read()) is not None:
            if len(data) > 1 and (queue := self._said.get(data[0])) is not None:
                await queue.put(data[1:])

    async def _connect_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for index, port in enumerate(self._ports):
                group.create_task(self._connect(2 * index, port), name="portforward connection")

    async def _connect(self, channel: int, port: int) -> None:
        queue = self._said[channel]
        async with aclosing(_taken(queue)) as said:
            words = await connect(self._forward, self._pod, port, said, partial(self._tell, channel))
        # Nothing more is read for it; whoever waits to put something there goes on.
        del self._said[channel]
        while not queue.empty():
            queue.get_nowait()
        if words:
            await self._tell(channel + 1, words.encode())


async def _taken(queue: asyncio.Queue[bytes]) -> AsyncGenerator[bytes, None]:
    while True:
        yield await queue.get()

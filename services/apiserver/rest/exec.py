"""exec over WebSocket: a client's channels to a command in a container and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, bad_request, internal
from services.apiserver.api import Api, Command
from services.apiserver.request import CREATE
from services.apiserver.rest import channels
from services.apiserver.rest.metrics import STREAMS
from services.apiserver.rest.query import Query
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.request import Receive, Request, Send
from services.apiserver.rest.response import Response
from services.apiserver.rest.routing import Target

logger = logging.getLogger(__name__)

INPUT_QUEUE = 16


class Exec:
    """Runs commands through the node of the pod. ``ending`` is set when the server stops."""

    def __init__(self, api: Api, ending: asyncio.Event) -> None:
        self._api = api
        self._ending = ending

    async def refuse(self, request: Request, target: Target) -> Response:
        """A request without a WebSocket. Clients come here after a refused WebSocket too, so they hear the true reason first."""
        await self._command(request, target, exec_start(request.query, target))
        if request.headers.get(b"upgrade", b"").lower().startswith(b"spdy"):
            raise bad_request("exec is served over WebSocket (v5.channel.k8s.io, v4.channel.k8s.io); SPDY is not")
        raise bad_request("Upgrade request required")

    async def serve(self, request: Request, target: Target, receive: Receive, send: Send) -> None:
        """Runs one command to its end. Raises, before the WebSocket is accepted, what is wrong with the request."""
        start = exec_start(request.query, target)
        command = await self._command(request, target, start)
        protocol = channels.choose_protocol(request.scope["subprotocols"])
        if protocol is None:
            raise bad_request(f"none of the offered WebSocket protocols is served: {', '.join(channels.PROTOCOLS)}")
        await receive()
        await send({"type": "websocket.accept", "subprotocol": protocol or None})
        with suppress(OSError), STREAMS.labels("exec").track_inprogress():
            await Session(command, start, protocol, receive, send).run(self._ending)
            await send({"type": "websocket.close", "code": 1000})

    async def _command(self, request: Request, target: Target, start: face.ExecStart) -> Command:
        return await self._api.exec(request_of(request, target, CREATE, start))


def exec_start(query: Query, target: Target) -> face.ExecStart:
    """The parameters of PodExecOptions; raises BadRequest."""
    start = face.ExecStart(
        namespace=target.namespace, pod=target.name, container=query.text("container"), command=query.all("command"),
        stdin=query.flag("stdin"), stdout=query.flag("stdout"), stderr=query.flag("stderr"), tty=query.flag("tty"),
    )  # fmt: skip
    if not start.command:
        raise bad_request("you must specify at least 1 command for the container")
    if not (start.stdin or start.stdout or start.stderr):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return start


class Requests:
    """What the client sends, for one reader; it never ends by itself, the command does."""

    def __init__(self, queue: asyncio.Queue[face.ExecRequest]) -> None:
        self._queue = queue

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> face.ExecRequest:
        return await self._queue.get()


class Session:
    """One command: what the client sends goes in, what the command writes comes out."""

    def __init__(self, command: Command, start: face.ExecStart, protocol: str, receive: Receive, send: Send) -> None:
        self._command = command
        self._exec_start = start
        self._protocol = protocol
        self._receive = receive
        self._send = send
        # Bounded: a command that does not read stops the client, not the server's memory.
        self._input: asyncio.Queue[face.ExecRequest] = asyncio.Queue(INPUT_QUEUE)

    async def run(self, ending: asyncio.Event) -> None:
        """Until the command ends, the client goes or the server stops."""
        output = asyncio.create_task(self._output(), name="exec output")
        others = [asyncio.create_task(self._read_input(), name="exec input"), asyncio.create_task(ending.wait(), name="exec end")]
        try:
            await asyncio.wait([output, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (output, *others):
                task.cancel()
            results = await asyncio.gather(output, *others, return_exceptions=True)
        if isinstance(results[0], Exception) and not isinstance(results[0], OSError):
            raise results[0]

    async def _read_input(self) -> None:
        """Returns when the client is gone."""
        while (message := await self._receive())["type"] != "websocket.disconnect":
            data = message.get("bytes") or (message.get("text") or "").encode()
            request = self._request(channels.decode(data, self._protocol))
            if request is not None:
                await self._input.put(request)

    def _request(self, found: channels.Input | channels.InputClosed | channels.Resize | None) -> face.ExecRequest | None:
        match found:
            case channels.Input(data) if self._exec_start.stdin and data:
                return face.ExecRequest(stdin=data)
            case channels.InputClosed():
                return face.ExecRequest(stdin_closed=True)
            case channels.Resize(width, height):
                return face.ExecRequest(resize=face.TerminalSize(width=width, height=height))
        return None

    async def _output(self) -> None:
        """Everything the command says, and at the end how it ended."""
        await self._write(self._first_channel(), b"")
        responses = self._command(Requests(self._input))
        status: meta.Status | None = None
        try:
            status = await self._relay(responses)
        except StatusError as error:
            status = error.status
        finally:
            if isinstance(responses, AsyncGenerator):
                await responses.aclose()
        if status is None:
            status = internal("the node ended the stream without saying how the command ended").status
        await self._send({"type": "websocket.send", "bytes": channels.encode_status(status, self._protocol)})

    async def _relay(self, responses: AsyncIterator[face.ExecResponse]) -> meta.Status | None:
        async for response in responses:
            match response.WhichOneof("part"):
                case "stdout":
                    await self._write(channels.STDOUT, response.stdout)
                case "stderr":
                    await self._write(channels.STDERR, response.stderr)
                case "status":
                    return response.status
        return None

    def _first_channel(self) -> int:
        """An empty message on the lowest channel tells the client that the connection stands."""
        if self._exec_start.stdout:
            return channels.STDOUT
        return channels.STDERR if self._exec_start.stderr else channels.ERROR

    async def _write(self, channel: int, data: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": channels.encode(channel, data)})

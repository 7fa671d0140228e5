"""A command in a container, or whoever is attached to one: what a client says goes in, what the container says comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, internal
from knarr.service.streams import channels
from knarr.service.streams.socket import Socket

INPUT_QUEUE = 16

# A command that may be run; given what follows its start, answers what it says.
Command = Callable[[AsyncIterator[face.ExecRequest]], AsyncIterator[face.ExecResponse]]


class Peer(Protocol):
    """A client, in the dialect that it speaks."""

    async def read(self) -> face.ExecRequest | None:
        """What the client says next; None when it is gone."""
        ...

    async def write(self, channel: int, data: bytes) -> None:
        """Output, on ``channels.STDOUT`` or ``channels.STDERR``."""
        ...

    async def end(self, status: meta.Status) -> None:
        """The last word: how it ended."""
        ...


class Requests:
    """What the client sends, for one reader; it never ends by itself, the command does."""

    def __init__(self, queue: asyncio.Queue[face.ExecRequest]) -> None:
        self._queue = queue

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> face.ExecRequest:
        return await self._queue.get()


class Conversation:
    """One command, with one client."""

    def __init__(self, command: Command, start: face.ExecStart, peer: Peer) -> None:
        self._command, self._exec_start, self._peer = command, start, peer
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
        while (request := await self._peer.read()) is not None:
            if self._exec_start.stdin or request.WhichOneof("part") != "stdin":
                await self._input.put(request)

    async def _output(self) -> None:
        """Everything the command says, and at the end how it ended."""
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
        await self._peer.end(status)

    async def _relay(self, responses: AsyncIterator[face.ExecResponse]) -> meta.Status | None:
        start = self._exec_start
        async for response in responses:
            match response.WhichOneof("part"):
                case "stdout" if start.stdout:
                    await self._peer.write(channels.STDOUT, response.stdout)
                case "stderr" if start.stderr:
                    await self._peer.write(channels.STDERR, response.stderr)
                case "status":
                    return response.status
        return None


async def converse_by_socket(socket: Socket, protocol: str, start: face.ExecStart, command: Command, ending: asyncio.Event) -> None:
    """Runs the command with the client behind a WebSocket to the end, and closes that."""
    peer = channels.SocketPeer(protocol, socket)
    await peer.greet(start)
    await Conversation(command, start, peer).run(ending)
    await peer.close()

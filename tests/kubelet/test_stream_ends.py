"""What becomes of a connection whose other side never reads, when whoever wrote to it goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.service import endings
from services.apiserver.node_streams import GrpcNodeStreams
from services.kubelet.conversation import converse
from services.kubelet.forwarding import relay
from services.kubelet.runtime.cri.streams import StreamedSession, Wire
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.docker.streams import HijackedSession

PIECE = b"x" * 65536


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "LINGER_SECONDS", 0.05)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours, and one that nobody reads."""
    ours, theirs = socket.socketpair()
    yield ours, theirs
    theirs.close()


class Flood:
    """A caller that says more than anybody takes; ``said`` counts it."""

    def __init__(self, message: Any) -> None:
        self._message, self.said = message, 0

    def __aiter__(self) -> Flood:
        return self

    async def __anext__(self) -> Any:
        self.said += 1
        await asyncio.sleep(0)
        return self._message

    async def held_up(self) -> None:
        """Returns when no more is taken of it."""
        before = -1
        async with asyncio.timeout(5):
            while self.said != before:
                before = self.said
                await asyncio.sleep(0.05)


async def dropped(answers: AsyncIterator[Any], flood: Flood) -> None:
    """The caller goes while it is held up: in time, and nothing of its task stays."""
    async with aclosing(answers):  # type: ignore[type-var]
        waiting = asyncio.ensure_future(anext(answers))
        await flood.held_up()
        waiting.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(waiting, return_exceptions=True)
    assert flood.said * len(PIECE) < 16 << 20


async def test_a_connection_to_a_port_that_is_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    flood = Flood(PIECE)
    await dropped(relay(ends[0], flood), flood)
    assert ends[0].fileno() == -1


async def test_an_attachment_whose_process_does_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    async def nothing() -> Any:
        return None

    ends[0].setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=ends[0])
    session = HijackedSession(Engine("unix:///nowhere", 1), reader, writer, False, "", nothing, nothing)
    flood = Flood(pb.AttachRequest(stdin=PIECE))
    await dropped(converse(session, flood, pb.AttachResponse), flood)
    assert ends[0].fileno() == -1


async def test_streams_of_an_engine_that_does_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=ends[0])
    session = StreamedSession(Wire(reader, writer))
    await session.open(stdin=True, tty=False)
    flood = Flood(pb.ExecRequest(stdin=PIECE))
    await dropped(converse(session, flood, pb.ExecResponse), flood)
    assert ends[0].fileno() == -1


async def test_a_node_that_does_not_read() -> None:
    taken: list[asyncio.StreamWriter] = []
    flood = Flood(PIECE)
    server = await asyncio.start_server(lambda reader, writer: taken.append(writer), "127.0.0.1", 0, limit=1024)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await dropped(GrpcNodeStreams(lambda name, address: None).connect("127.0.0.1", port, flood), flood)
        for writer in taken:
            writer.transport.abort()

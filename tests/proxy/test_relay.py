"""The userspace datapath's way of a connection, on sockets of this process: nothing is lost, nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.proxy import metrics
from services.proxy.datapath.userspace.entry import INTERNAL, Address
from services.proxy.datapath.userspace.limits import Limits
from services.proxy.datapath.userspace.poller import READING_AND_WRITING, Poller
from services.proxy.datapath.userspace.relay import Side
from services.proxy.datapath.userspace.tcp import TcpFrontend
from services.proxy.routing.table import Endpoint, Route, RouteKey
from services.proxy.settings import ProxySettings

MUCH_BYTES = 6 * 1024 * 1024


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    found = Poller()
    yield found
    found.close()


class Relayed:
    """A client and an endpoint with a relay between them."""

    def __init__(self, poller: Poller) -> None:
        self.client, front = socket.socketpair()
        back, self.endpoint = socket.socketpair()
        self.sockets = (self.client, front, back, self.endpoint)
        for sock in self.sockets:
            sock.setblocking(False)
        self.ended = 0
        self.over = asyncio.Event()
        side = Side(poller, back, self._end)
        poller.watch(back, side.ready, READING_AND_WRITING)
        Side(poller, front).join(side, 0)

    def _end(self, side: Side) -> None:
        self.ended += 1
        self.over.set()

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def relayed(poller: Poller) -> Iterator[Relayed]:
    made = Relayed(poller)
    yield made
    made.close()


async def _read(sock: socket.socket, dice: random.Random) -> bytes:
    """All until its end, in pieces of any size."""
    parts = []
    while part := await asyncio.get_running_loop().sock_recv(sock, dice.randrange(1, 400_000)):
        parts.append(part)
    return b"".join(parts)


async def _say(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)
    sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("seed", range(5))
async def test_all_arrives_both_ways_and_then_it_is_over(relayed: Relayed, seed: int) -> None:
    dice = random.Random(seed)
    there, back = dice.randbytes(MUCH_BYTES), dice.randbytes(MUCH_BYTES)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(_say(relayed.client, there))
        group.create_task(_say(relayed.endpoint, back))
        heard = [group.create_task(_read(sock, dice)) for sock in (relayed.endpoint, relayed.client)]
    assert [task.result() for task in heard] == [there, back]
    assert relayed.ended == 1


async def test_what_was_said_before_both_ends_arrives_after_them(relayed: Relayed) -> None:
    """Both have finished while most of what one said is still to be taken by the other."""
    said = random.Random(1).randbytes(MUCH_BYTES)
    async with asyncio.timeout(20):
        saying = asyncio.create_task(_say(relayed.endpoint, said))
        relayed.client.shutdown(socket.SHUT_WR)
        assert await _read(relayed.endpoint, random.Random(2)) == b""
        assert await _read(relayed.client, random.Random(3)) == said
        await saying
    assert relayed.ended == 1


async def test_who_is_not_read_from_is_held_back(relayed: Relayed) -> None:
    loop = asyncio.get_running_loop()
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            while True:
                await loop.sock_sendall(relayed.endpoint, bytes(4096))
                sent += 4096
    assert 0 < sent < MUCH_BYTES
    async with asyncio.timeout(20):
        while sent > 0:
            sent -= len(await loop.sock_recv(relayed.client, 1 << 20))


async def test_an_end_of_one_ends_the_other(relayed: Relayed) -> None:
    relayed.client.close()
    async with asyncio.timeout(10):
        assert await _read(relayed.endpoint, random.Random(1)) == b""
        relayed.endpoint.send(b"nobody is there")
        await relayed.over.wait()
    assert relayed.ended == 1 and relayed.sockets[1].fileno() == -1 and relayed.sockets[2].fileno() == -1


@contextlib.contextmanager
def without_descriptors() -> Iterator[None]:
    """No descriptor is to be had; those that are open stay."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open("rb") as free:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free.fileno(), before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_without_descriptors_clients_wait(poller: Poller) -> None:
    refused = metrics.REFUSED.labels("no-descriptor")._value
    answered = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    route = Route(RouteKey("default", "web", ""), "tcp", (), 0, 0, (endpoint,))
    frontend = TcpFrontend(route, ProxySettings(), Limits(10), poller)
    address = Address("127.0.0.1", 0, INTERNAL)
    assert await frontend.update(route, [address]) == []
    with socket.socket() as client:
        client.setblocking(False)
        before = refused.get()
        async with asyncio.timeout(10):
            with without_descriptors():
                await asyncio.get_running_loop().sock_connect(client, frontend._listening[address].getsockname())
                while refused.get() == before:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            assert not answered.is_set()
            await answered.wait()
    await frontend.close()
    server.close()
    await server.wait_closed()

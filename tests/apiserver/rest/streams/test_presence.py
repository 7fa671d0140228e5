"""A client that leaves while it is held up, by a process that takes no input or a port that nobody reads: its stream ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.service import presence
from knarr.service.spdy import session
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import TOKEN, Certificates
from tests.apiserver.rest.streams.fake_node import PODS, FakeNode
from tests.apiserver.rest.streams.flood import held_up, over_a_websocket, over_spdy

RESET = struct.pack("ii", 1, 0)


class DeafNode(FakeNode):
    """Nobody there reads what is said."""

    async def _read(self, requests: AsyncIterator[face.ExecRequest]) -> None:
        await asyncio.Event().wait()

    async def forward(
        self, pod: core.Pod, node: core.Node, port: int, data: AsyncIterator[bytes], *, by_address: bool = False
    ) -> AsyncIterator[bytes]:
        self.asked.append(port)
        async for nothing in self._play():
            yield nothing


@pytest.fixture
def node() -> DeafNode:
    return DeafNode()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(session, "HELD_UP_SECONDS", 0.05)


def leave(transport: asyncio.WriteTransport) -> None:
    """As the kernel does it for a process that ended with something unread."""
    borrowed = socket.socket(fileno=transport.get_extra_info("socket").fileno())
    borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    borrowed.detach()
    transport.abort()


def vanish(transport: asyncio.WriteTransport) -> None:
    """What was not taken stays with the kernel, and its end behind it."""
    transport.abort()


@pytest.mark.parametrize("how", [leave, vanish])
@pytest.mark.parametrize("dialect", [over_a_websocket, over_spdy])
@pytest.mark.parametrize("path", ["exec?command=sleep&stdin=true&stdout=true", "attach?stdin=true&stdout=true", "portforward?ports=80"])
async def test_the_stream_of_a_client_that_leaves_ends(
    server: RestServer, certificates: Certificates, node: DeafNode, dialect: Any, path: str, how: Any
) -> None:
    kinds = ("error", "data") if "portforward" in path else ("error", "stdout", "stdin")
    transport, say = await dialect(server.port, certificates.client, f"{PODS}/one/{path}", TOKEN, kinds)
    await node.heard(1)

    flooding = await held_up(say)
    assert node.open
    how(transport)
    await node.left_alone()
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_one_that_is_held_up_and_stays_is_not_given_up(server: RestServer, certificates: Certificates, node: DeafNode) -> None:
    transport, say = await over_a_websocket(server.port, certificates.client, f"{PODS}/one/attach?stdin=true&stdout=true", TOKEN)
    flooding = asyncio.gather(*(say() for _ in range(100)), return_exceptions=True)
    await node.heard(1)
    await asyncio.sleep(10 * presence.LOOK_SECONDS)
    assert node.open
    leave(transport)
    await flooding
    await node.left_alone()

"""A node that was taken over gains nothing from being called by the API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from knarr.machinery.errors import Unauthorized
from knarr.service.authentication import TokenTable, User, bound_token, hash_token
from knarr.service.certificates import CertificateAuthority
from services.apiserver.kubelet_channels import KubeletChannels
from services.standalone.credentials import APISERVER, kubelet_tokens

pytestmark = pytest.mark.hostile

AUTHORITY = CertificateAuthority.create()
TOKEN = "the-token-of-the-api-server"


class Kubelet(grpc.GenericRpcHandler):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def service(self, details: Any) -> Any:
        self.shown += [value for key, value in details.invocation_metadata if key == "authorization"]

        async def answer(request: bytes, context: Any) -> bytes:
            return b"logs"

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def kubelet_of(node: str) -> AsyncIterator[tuple[Kubelet, str]]:
    """A kubelet with the certificate of its node, and its address."""
    kubelet = Kubelet()
    pair = AUTHORITY.issue(f"system:node:{node}", hosts=["127.0.0.1", "localhost", node])
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((kubelet,))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    try:
        yield kubelet, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def channels() -> AsyncIterator[KubeletChannels]:
    made = KubeletChannels(AUTHORITY.pair.certificate, TOKEN)
    try:
        yield made
    finally:
        await made.close()


async def call(channel: grpc.aio.Channel) -> bytes:
    answer: bytes = await channel.unary_unary("/a.B/C")(b"", timeout=10)
    return answer


async def test_a_kubelet_is_shown_a_token_that_is_good_there_alone() -> None:
    async with kubelet_of("a") as (kubelet, address), channels() as to:
        assert await call(to("a", address)) == b"logs"
    (shown,) = kubelet.shown
    assert TOKEN not in shown
    assert kubelet_tokens("admin", TOKEN, "a").authenticate(shown) == APISERVER
    elsewhere = TokenTable({hash_token(TOKEN): User("system:kube-apiserver"), hash_token("admin"): User("admin")})
    for table in (elsewhere, kubelet_tokens("admin", TOKEN, "b")):
        with pytest.raises(Unauthorized):
            table.authenticate(shown)
    with pytest.raises(Unauthorized):
        kubelet_tokens("admin", TOKEN, "a").authenticate(f"Bearer {TOKEN}")


@pytest.mark.parametrize("node", ["b", "localhost.evil", "A-b"])
async def test_whoever_has_another_nodes_certificate_is_shown_nothing(node: str) -> None:
    async with kubelet_of("a") as (kubelet, address), channels() as to:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(to(node, address))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert kubelet.shown == []


async def test_a_node_that_moved_is_connected_to_anew() -> None:
    async with kubelet_of("a") as (first, address), kubelet_of("a") as (second, other), channels() as to:
        assert to("a", address) is to("a", address)
        await call(to("a", address))
        await call(to("a", other))
    assert (len(first.shown), len(second.shown)) == (1, 1)


async def test_channels_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.apiserver.kubelet_channels.KEPT", 4)
    async with channels() as to:
        first = to("n0", "127.0.0.1:1")
        for number in range(20):
            to(f"n{number}", "127.0.0.1:1")
        assert to("n0", "127.0.0.1:1") is not first


def test_tokens_of_two_nodes_differ() -> None:
    assert bound_token(TOKEN, "a") != bound_token(TOKEN, "b") != bound_token("other", "b")

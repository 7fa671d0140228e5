"""Calls without gRPC's library are answered by servers that have it: long messages, refusals in their words, and what is no gRPC at all."""

from __future__ import annotations

import asyncio
import gc
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from knarr.api.proxy.v1 import proxy_service_pb2 as proxy
from knarr.api.proxy.v1 import proxy_service_pb2_grpc as faces
from knarr.service.certificates import CertificateAuthority
from services.command.unary import Failed, Way, answered, trusting, unary
from services.kubelet.runtime.http2 import Answer

ROUTES = "/knarr.api.proxy.v1.ProxyService/GetRoutes"
# Far more than the 64 KiB that HTTP/2 lets a server send unasked.
MANY = 5000


class Proxy(faces.ProxyServiceServicer):
    async def GetRoutes(self, request: proxy.GetRoutesRequest, context: Any) -> proxy.GetRoutesResponse:
        if request.namespace == "forbidden":
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no: 100% of it, nie wieder – 안 됩니다")
        if request.namespace == "slow":
            await asyncio.sleep(60)
        token = dict(context.invocation_metadata()).get("authorization", "")
        return proxy.GetRoutesResponse(datapath=token, routes=[proxy.Route(service=f"service-{number}") for number in range(MANY)])


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    authority = CertificateAuthority.create()
    pair = authority.issue("proxy", hosts=["127.0.0.1"])
    server = grpc.aio.server()
    faces.add_ProxyServiceServicer_to_server(Proxy(), server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    yield Way(f"127.0.0.1:{port}", trusting(authority.pair.certificate), "secret")
    await server.stop(0)


async def ask(way: Way, namespace: str = "", seconds: float = 10.0) -> proxy.GetRoutesResponse:
    return proxy.GetRoutesResponse.FromString(
        await unary(way, ROUTES, proxy.GetRoutesRequest(namespace=namespace).SerializeToString(), seconds)
    )


async def test_a_long_answer_comes_whole_to_whoever_shows_a_token(way: Way) -> None:
    answer = await ask(way)
    assert answer.datapath == "Bearer secret" and len(answer.routes) == MANY and answer.ByteSize() > 65_535


async def test_a_refusal_is_told_in_its_words(way: Way) -> None:
    with pytest.raises(Failed, match="no: 100% of it, nie wieder – 안 됩니다") as failed:
        await ask(way, "forbidden")
    assert failed.value.code == grpc.StatusCode.PERMISSION_DENIED.value[0]


async def test_who_does_not_answer_in_time_is_given_up(way: Way) -> None:
    with pytest.raises(Failed) as failed:
        await ask(way, "slow", 0.3)
    assert failed.value.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


async def test_another_authoritys_server_and_none_at_all_are_unavailable(way: Way) -> None:
    other = trusting(CertificateAuthority.create().pair.certificate)
    for there in (Way(way.address, other), Way("127.0.0.1:1", other)):
        with pytest.raises(Failed) as failed:
            await ask(there)
        assert failed.value.code == grpc.StatusCode.UNAVAILABLE.value[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(200, {"content-type": "text/html"}, {}, b"<html>"), "no gRPC's: HTTP 200, 6 bytes"),
        (Answer(200, {}, {"grpc-status": "0"}, b"\0\0\0\0\5abc"), "no single message"),
        (Answer(200, {}, {"grpc-status": "0"}, b""), "no single message"),
        (Answer(200, {}, {"grpc-status": "0"}, b"\1\0\0\0\1a"), "no single message"),
        (Answer(200, {"grpc-status": "12", "grpc-message": "not%20here"}), "not here"),
        (Answer(200, {}, {"grpc-status": "13"}), "gRPC status 13"),
    ],
)
def test_what_is_no_answer_is_refused(answer: Answer, words: str) -> None:
    with pytest.raises(Failed, match=words):
        answered(answer)


def test_a_message_is_taken_out_of_its_frame() -> None:
    assert answered(Answer(200, {}, {"grpc-status": "0"}, b"\0\0\0\0\3abc")) == b"abc"
    assert trusting(CertificateAuthority.create().pair.certificate).verify_mode is ssl.CERT_REQUIRED


async def test_a_connection_that_was_closed_takes_nothing_whoever_looks_for_cycles(way: Way) -> None:
    """60 KB each, of which a page made three a second; gRPC's servers leave TLS's farewell unanswered, which the connection remembers."""
    await ask(way)
    gc.collect()
    before = sum(isinstance(one, SSLProtocol) for one in gc.get_objects())
    gc.disable()
    try:
        for _ in range(3):
            await ask(way)
        after = sum(isinstance(one, SSLProtocol) for one in gc.get_objects())
    finally:
        gc.enable()
    assert after <= before

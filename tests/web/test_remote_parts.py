"""The components of a cluster of several machines, as the page asks them: what their answers are, and what is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest

from knarr.api.proxy.v1 import proxy_service_pb2 as proxy
from knarr.api.proxy.v1 import proxy_service_pb2_grpc as faces
from knarr.service.certificates import CertificateAuthority
from knarr.service.keypair import KeptPair
from services.web.parts import Unanswered
from services.web.permits import Permits
from services.web.remote_parts import Channels, Instance, RemoteParts

ROUTES = "/knarr.api.proxy.v1.ProxyService/GetRoutes"
NOBODY = "127.0.0.1:1"


class Proxy(faces.ProxyServiceServicer):
    async def GetRoutes(self, request: proxy.GetRoutesRequest, context: Any) -> proxy.GetRoutesResponse:
        if request.namespace:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
        return proxy.GetRoutesResponse(datapath="nftables")


class Allowing:
    async def check(self, method: str) -> None:
        pass


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[tuple[RemoteParts, str]]:
    """Two proxies, of which one is not there, and where the other is."""
    authority = CertificateAuthority.create()
    authority.issue("web").save(tmp_path, "web")
    pair = authority.issue("proxy", hosts=["127.0.0.1"])
    server = grpc.aio.server()
    faces.add_ProxyServiceServicer_to_server(Proxy(), server)
    address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', grpc.ssl_server_credentials([(pair.key, pair.certificate)]))}"
    await server.start()
    shown = KeptPair(tmp_path / "web.crt", tmp_path / "web.key")
    async with Channels(authority.pair.certificate, shown) as channels:
        instances = [Instance("proxy", address), Instance("proxy", NOBODY)]
        yield RemoteParts(instances, channels, cast(Permits, Allowing())), address
    await server.stop(0)


async def test_of_several_those_are_heard_that_answer(parts: tuple[RemoteParts, str]) -> None:
    asked, address = parts
    found = await asked.ask_each("proxy", ROUTES, proxy.GetRoutesRequest(), proxy.GetRoutesResponse)
    assert {where: one.datapath for where, one in found.items()} == {address: "nftables"}


async def test_where_none_answers_each_says_why(parts: tuple[RemoteParts, str]) -> None:
    asked, address = parts
    with pytest.raises(Unanswered) as told:
        await asked.ask_each("proxy", ROUTES, proxy.GetRoutesRequest(namespace="shop"), proxy.GetRoutesResponse)
    assert f"proxy at {address}: not you; proxy at {NOBODY}: " in str(told.value)


async def test_what_is_our_own_mistake_is_not_said_of_those_who_were_asked(parts: tuple[RemoteParts, str]) -> None:
    class Mistake:
        pass

    with pytest.raises(AttributeError):
        await parts[0].ask_each("proxy", ROUTES, proxy.GetRoutesRequest(), Mistake)

"""What only a client on a network meets: errors on the wire and streams that break.

``ClientConformance`` runs on it in the API server's tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc.aio

from knarr.api.apiserver.v1 import resource_service_pb2 as rpc
from knarr.api.apiserver.v1.resource_service_pb2_grpc import ResourceServiceServicer, add_ResourceServiceServicer_to_server
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.rpc import STATUS_METADATA_KEY, RpcClient, connect
from knarr.machinery.errors import Cause, Expired, InternalError, Invalid, ServiceUnavailable, Timeout, expired, invalid
from tests.client.conformance import refused
from tests.client.objects import config_map


class Servicer(ResourceServiceServicer):
    """Refuses reads with a Status, breaks calls without one, and watches until it is told to stop."""

    def __init__(self) -> None:
        self.watches = asyncio.Event()

    async def Get(self, request: rpc.GetRequest, context: grpc.aio.ServicerContext[Any, Any]) -> rpc.GetResponse:
        error = invalid("ConfigMap", "a", [Cause("FieldValueRequired", "Required value", "data.k")])
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error), ((STATUS_METADATA_KEY, error.status.SerializeToString()),))
        raise AssertionError

    async def Create(self, request: rpc.CreateRequest, context: grpc.aio.ServicerContext[Any, Any]) -> rpc.CreateResponse:
        await context.abort(grpc.StatusCode.UNKNOWN, "no Status here")
        raise AssertionError

    async def List(self, request: rpc.ListRequest, context: grpc.aio.ServicerContext[Any, Any]) -> rpc.ListResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def Watch(self, request: rpc.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[rpc.WatchResponse]:
        self.watches.set()
        response = rpc.WatchResponse()
        if request.options.resource_version == "1":
            event = response.events.add(type=rpc.EVENT_TYPE_ERROR)
            event.object.Pack(expired("too old").status)
            yield response
        else:
            event = response.events.add(type=rpc.EVENT_TYPE_ADDED)
            event.object.Pack(config_map("a"))
            yield response
            await asyncio.Event().wait()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[grpc.aio.Server, RpcClient]]:
    server = grpc.aio.server()
    add_ResourceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with asyncio.timeout(20), connect(f"127.0.0.1:{port}") as client:
            yield server, client
    finally:
        await server.stop(0)


async def test_a_status_comes_through_whole() -> None:
    async with serving() as (_, client):
        error = await refused(Invalid, client.get(core.ConfigMap, "a", "default"))
        assert error.code == 422 and error.status.details.causes[0].field == "data.k"


async def test_an_error_without_a_status_is_internal() -> None:
    async with serving() as (_, client):
        error = await refused(InternalError, client.create(config_map("a")))
        assert str(error) == "no Status here"


async def test_a_call_that_takes_too_long_times_out() -> None:
    async with serving() as (_, client):
        client._timeout_seconds = 0.05
        await refused(Timeout, client.list(core.ConfigMap))


async def test_an_error_event_ends_the_watch() -> None:
    async with serving() as (_, client), aclosing(client.watch(core.ConfigMap, resource_version="1")) as stream:  # type: ignore[type-var]
        await refused(Expired, anext(stream))


async def test_a_server_that_goes_away_breaks_the_watch() -> None:
    async with serving() as (server, client), aclosing(client.watch(core.ConfigMap, resource_version="2")) as stream:  # type: ignore[type-var]
        assert [event.object.metadata.name for event in await anext(stream)] == ["a"]
        await server.stop(0)
        await refused(ServiceUnavailable, anext(stream))


async def test_nobody_there_is_unavailable() -> None:
    async with asyncio.timeout(20), connect("127.0.0.1:1") as client:
        await refused(ServiceUnavailable, client.get(core.ConfigMap, "a", "default"))

"""A hosted component answers health to anybody, and everything else to those with a token."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from knarr.api.controller.v1 import controller_service_pb2 as pb
from knarr.api.controller.v1 import controller_service_pb2_grpc as pb_grpc
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.channel import server_options
from knarr.machinery.errors import not_found
from knarr.service.authentication import TokenTable, User, current_user, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.component import Component
from knarr.service.host import Host, ServerSettings
from knarr.service.interceptor import STATUS_METADATA_KEY

TOKENS = TokenTable({hash_token("secret"): User("admin", groups=("system:masters",))})


class Servicer(pb_grpc.ControllerServiceServicer):
    async def ListControllers(self, request: pb.ListControllersRequest, context: object) -> pb.ListControllersResponse:
        return pb.ListControllersResponse(controllers=[pb.ControllerStatus(name=current_user().name)])

    async def GetKey(self, request: pb.GetKeyRequest, context: object) -> pb.GetKeyResponse:
        raise not_found("controllers", request.controller)

    async def Sync(self, request: pb.SyncRequest, context: object) -> pb.SyncResponse:
        raise ZeroDivisionError("a bug")


class Echo(Component):
    name: ClassVar[str] = "echo"
    ready = False

    def register(self, server: grpc.aio.Server) -> list[str]:
        pb_grpc.add_ControllerServiceServicer_to_server(Servicer(), server)
        return ["knarr.api.controller.v1.ControllerService"]

    async def run(self) -> None:
        self.ready = True
        await asyncio.Event().wait()


@asynccontextmanager
async def hosted() -> AsyncIterator[grpc.aio.Channel]:
    authority = CertificateAuthority.create()
    host = Host(Echo(), ServerSettings("127.0.0.1:0", authority.issue("echo", hosts=["127.0.0.1"]), TOKENS))
    await host.start()
    running = asyncio.create_task(host.run())
    credentials = grpc.ssl_channel_credentials(authority.pair.certificate)
    try:
        async with grpc.aio.secure_channel(f"127.0.0.1:{host.port}", credentials) as channel:
            yield channel
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


BEARER = (("authorization", "Bearer secret"),)


async def test_health_needs_no_token_and_follows_readiness() -> None:
    async with hosted() as channel, asyncio.timeout(10):
        stub = health_pb2_grpc.HealthStub(channel)
        async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                break


@pytest.mark.hostile
async def test_streams_that_need_no_token_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knarr.service.interceptor.MAX_OPEN_STREAMS", 2)
    async with hosted() as channel, asyncio.timeout(10):
        stub = health_pb2_grpc.HealthStub(channel)
        calls = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for call in calls:
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(health_pb2.HealthCheckRequest()).read()
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status
        calls[0].cancel()
        refused = True
        while refused:
            with suppress(grpc.aio.AioRpcError):
                await stub.Watch(health_pb2.HealthCheckRequest()).read()
                refused = False


@pytest.mark.hostile
async def test_connections_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that never begin with TLS, or speak something else."""
    monkeypatch.setattr("knarr.service.host.MAX_CONNECTIONS", 3)
    authority = CertificateAuthority.create()
    host = Host(Echo(), ServerSettings("127.0.0.1:0", authority.issue("echo", hosts=["127.0.0.1"]), TOKENS))
    await host.start()
    running = asyncio.create_task(host.run())
    credentials = grpc.ssl_channel_credentials(authority.pair.certificate)
    try:
        async with asyncio.timeout(20):
            silent = [await asyncio.open_connection("127.0.0.1", host.port) for _ in range(3)]
            reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
            assert await reader.read() == b""
            writer.close()
            for reader, writer in silent:
                writer.write(b"GET / HTTP/1.1\r\n\r\n" * 20)
                await reader.read()
                writer.close()
            async with grpc.aio.secure_channel(f"127.0.0.1:{host.port}", credentials) as channel:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
                assert answer.status
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.hostile
def test_grpc_writes_no_lines_that_anybody_can_cause() -> None:
    """It reads the variable when it is imported, so it is imported after Knarr."""
    script = """
import knarr, asyncio, grpc, grpc.aio
from knarr.service.certificates import CertificateAuthority

async def main():
    pair = CertificateAuthority.create().issue("x", hosts=["127.0.0.1"])
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1" + bytes(100))
    await reader.read()
    writer.close()
    await server.stop(None)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_a_token_names_the_caller() -> None:
    async with hosted() as channel:
        answer = await pb_grpc.ControllerServiceStub(channel).ListControllers(pb.ListControllersRequest(), metadata=BEARER)
        assert answer.controllers[0].name == "admin"


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", "Basic secret"),)])
async def test_without_a_good_token_nothing_is_answered(metadata: tuple[tuple[str, str], ...]) -> None:
    async with hosted() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.ControllerServiceStub(channel).ListControllers(pb.ListControllersRequest(), metadata=metadata)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_status_error_keeps_its_status() -> None:
    async with hosted() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.ControllerServiceStub(channel).GetKey(pb.GetKeyRequest(controller="x"), metadata=BEARER)
        status = meta.Status.FromString(dict(caught.value.trailing_metadata())[STATUS_METADATA_KEY])
        assert (caught.value.code(), status.reason, status.details.name) == (grpc.StatusCode.NOT_FOUND, "NotFound", "x")


async def test_a_bug_is_an_internal_error_with_its_name() -> None:
    async with hosted() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.ControllerServiceStub(channel).Sync(pb.SyncRequest(), metadata=BEARER)
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert "ZeroDivisionError: a bug" in str(caught.value.details())


async def test_reflection_lists_the_services() -> None:
    async with hosted() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        async for answer in stub.ServerReflectionInfo(ask(), metadata=BEARER):
            names = {service.name for service in answer.list_services_response.service}
            assert {"knarr.api.controller.v1.ControllerService", "grpc.health.v1.Health"} <= names


async def test_every_component_permits_the_pings_of_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[tuple[str, int | str]] = []
    make = grpc.aio.server

    def server(**given: Any) -> grpc.aio.Server:
        options.extend(given["options"])
        return make(**given)

    monkeypatch.setattr("grpc.aio.server", server)
    async with hosted():
        assert set(server_options()) <= set(options)

"""Both ways in, without and over the network, pass the conformance suite of clients on a real etcd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.service.authentication import User
from services.apiserver.component import ApiServer
from services.apiserver.local import LocalClient
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.etcd import EtcdSettings
from tests.apiserver.core.conftest import check_cache_equals_store, empty
from tests.client.conformance import ClientConformance
from tests.support.etcd import EtcdServer
from tests.support.rpc import rpc_client

pytestmark = pytest.mark.etcd
ADMIN = User("admin", groups=("system:masters",))


@pytest.fixture
async def apiserver(etcd_server: EtcdServer) -> AsyncIterator[ApiServer]:
    """A whole API server on an empty etcd; at the end its cache equals the store."""
    await empty(etcd_server.endpoint)
    server = ApiServer(ApiServerSettings(etcd=EtcdSettings((etcd_server.endpoint,))), grpc.aio.insecure_channel)
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(10):
            await server.wait_ready()
        # As the controller manager makes it: pods run as an account that exists.
        await server.client(ADMIN).create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="default")))
        yield server
        await check_cache_equals_store(server.backend.store, server.backend.cache)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class TestLocalClient(ClientConformance):
    @pytest.fixture
    def client(self, apiserver: ApiServer) -> LocalClient:
        return apiserver.client(ADMIN)


class TestRpcClient(ClientConformance):
    @pytest.fixture
    async def client(self, apiserver: ApiServer, tmp_path: Path) -> AsyncIterator[Client]:
        async with rpc_client(apiserver, tmp_path) as client:
            yield client

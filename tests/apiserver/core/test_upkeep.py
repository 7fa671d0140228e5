"""What every cluster has comes back when somebody deletes or spoils it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from services.apiserver.component import ApiServer
from services.apiserver.in_memory import ADMIN
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.memory import MemoryStore
from tests.support.virtual_time import VirtualClock, virtual_time

SETTINGS = ApiServerSettings(advertise_address="192.0.2.1", repair_seconds=0, compaction_seconds=0)


def no_kubelet(*where: str) -> Any:
    raise AssertionError(where)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Client]:
    server = ApiServer(SETTINGS, no_kubelet, store=MemoryStore(), clock=VirtualClock())
    task = asyncio.create_task(server.run())
    try:
        await server.wait_ready()
        await asyncio.sleep(1)
        yield server.client(ADMIN)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("message", [core.Service, core.Endpoints, discovery.EndpointSlice])
@virtual_time
async def test_the_service_of_the_api_server_comes_back_at_once(message: Any) -> None:
    async with running() as client:
        before = await client.get(message, "kubernetes", "default")
        await client.delete(message, "kubernetes", "default")
        await asyncio.sleep(0.1)
        after = await client.get(message, "kubernetes", "default")
        assert after.metadata.uid != before.metadata.uid
        if message is core.Service:
            assert after.spec.cluster_ip == before.spec.cluster_ip
        if message is core.Endpoints:
            assert [address.ip for address in after.subsets[0].addresses] == ["192.0.2.1"]


@virtual_time
async def test_a_lone_server_mends_its_endpoints_and_the_namespaces() -> None:
    async with running() as client:
        endpoints = await client.get(core.Endpoints, "kubernetes", "default")
        endpoints.subsets[0].addresses[0].ip = "192.0.2.9"
        await client.update(endpoints)
        going = await client.get(core.Namespace, "kube-node-lease")
        await client.delete(core.Namespace, "kube-node-lease")
        going = await client.get(core.Namespace, "kube-node-lease")
        del going.spec.finalizers[:]
        await client.update(going, subresource="finalize")
        await asyncio.sleep(6)
        endpoints = await client.get(core.Endpoints, "kubernetes", "default")
        assert [address.ip for address in endpoints.subsets[0].addresses] == ["192.0.2.1"]
        assert not (await client.get(core.Namespace, "kube-node-lease")).metadata.HasField("deletion_timestamp")


@virtual_time
async def test_the_range_of_services_can_be_asked_for() -> None:
    """As the ServiceCIDR that Kubernetes' own API server keeps."""
    async with running() as client:
        found = await client.get(networking.ServiceCIDR, "kubernetes")
        assert list(found.spec.cidrs) == ["10.96.0.0/16"]
        ready = found.status.conditions[0]
        assert (ready.type, ready.status, ready.message) == ("Ready", "True", "Kubernetes default Service CIDR is ready")
        await client.delete(networking.ServiceCIDR, "kubernetes")
        await asyncio.sleep(6)
        again = await client.get(networking.ServiceCIDR, "kubernetes")
        assert again.metadata.uid != found.metadata.uid and again.status.conditions[0].status == "True"


@virtual_time
async def test_a_range_of_another_time_is_not_called_ready(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as client:
        await client.delete(networking.ServiceCIDR, "kubernetes")
        other = networking.ServiceCIDR()
        other.metadata.name = "kubernetes"
        other.spec.cidrs.append("10.112.0.0/16")
        await client.create(other)
        await asyncio.sleep(6)
        assert not (await client.get(networking.ServiceCIDR, "kubernetes")).status.conditions
    assert "ServiceCIDR kubernetes says 10.112.0.0/16, and addresses are given out of 10.96.0.0/16: delete it" in caplog.text

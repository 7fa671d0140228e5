"""What is built in and may be switched off: served or not, at once and after a start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.client import Client
from knarr.machinery.errors import NotFound
from knarr.objects.built_ins import LOCAL_PATH, METRICS, NAME, NAMESPACE, OFF
from knarr.objects.local_path import CLASS
from knarr.service.tasks import cancel
from services.apiserver.aggregation.local import ALWAYS, LABEL, LocalServices
from services.apiserver.bootstrap import bootstrap
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.switches import Switches

ADDRESS = "10.96.0.1"
METRICS_SERVICE = "v1beta1.metrics.k8s.io"


def switches(**data: str) -> core.ConfigMap:
    found = core.ConfigMap()
    found.metadata.name, found.metadata.namespace = NAME, NAMESPACE
    found.data.update(data)
    return found


@asynccontextmanager
async def keeping(api: ApiInMemory) -> AsyncIterator[Client]:
    """What of a server looks after the switches, and after APIServices."""
    registry, cache = api.server.registry, api.server.backend.cache
    client = api.client()
    tasks = [asyncio.create_task(part.run()) for part in (Switches(registry, cache), LocalServices(client, registry, cache))]
    try:
        await until(lambda: METRICS_SERVICE in services(api))
        yield client
    finally:
        await cancel(tasks)


def services(api: ApiInMemory) -> list[str]:
    return [found.metadata.name for found in api.all(apiregistration.APIService)]


def service(group: str, version: str) -> apiregistration.APIService:
    found = apiregistration.APIService()
    found.metadata.name = f"{version}.{group}"
    found.spec.group, found.spec.version = group, version
    found.spec.group_priority_minimum, found.spec.version_priority = 100, 100
    return found


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def served(api: ApiInMemory) -> bool:
    return api.server.registry.of(metrics.NodeMetrics) is not None


async def test_metrics_go_and_come_with_their_switch() -> None:
    async with ApiInMemory() as api, keeping(api) as client:
        await client.list(metrics.NodeMetrics)
        await client.create(switches(**{METRICS: OFF}))
        await until(lambda: not served(api))
        with pytest.raises(NotFound, match="not served"):
            await client.list(metrics.NodeMetrics)
        await client.update(switches(**{METRICS: "on"}))
        await until(lambda: served(api))
        await client.list(metrics.NodeMetrics)
        await client.update(switches(**{METRICS: OFF}))
        await until(lambda: not served(api))
        await client.delete(core.ConfigMap, NAME, NAMESPACE)
        await until(lambda: served(api))


async def test_the_apiservice_goes_with_them_unless_it_is_somebody_elses() -> None:
    async with ApiInMemory() as api, keeping(api) as client:
        await client.get(apiregistration.APIService, METRICS_SERVICE)
        await client.create(switches(**{METRICS: OFF}))
        await until(lambda: METRICS_SERVICE not in services(api))
        theirs = service("metrics.k8s.io", "v1beta1")
        theirs.spec.service.name, theirs.spec.service.namespace = "metrics-server", "kube-system"
        theirs.spec.insecure_skip_tls_verify = True
        await client.create(theirs)
        # One of a definition that is gone goes with the next look.
        stale = service("example.org", "v1")
        stale.metadata.labels[LABEL] = ALWAYS
        await client.create(stale)
        await until(lambda: stale.metadata.name not in services(api))
        assert (await client.get(apiregistration.APIService, METRICS_SERVICE)).spec.service.name == "metrics-server"


@pytest.mark.parametrize(("data", "is_there"), [({LOCAL_PATH: OFF}, False), ({LOCAL_PATH: "on"}, True), ({METRICS: OFF}, True)])
async def test_the_class_that_is_off_is_not_made_again(data: dict[str, str], is_there: bool) -> None:
    async with ApiInMemory() as api:
        client = api.client()
        await client.create(switches(**data))
        await bootstrap(client, ADDRESS)
        assert (CLASS in [found.metadata.name for found in api.all(storage.StorageClass)]) is is_there

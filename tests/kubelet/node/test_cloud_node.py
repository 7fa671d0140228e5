"""A kubelet whose node's machine a cloud controller manager tells of."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import get_condition
from knarr.objects.tolerations import NOT_READY, UNINITIALIZED
from services.cloud.component import CloudControllerManager
from services.cloud.provider import ProviderType
from services.cloud.settings import CloudSettings
from services.kubelet.runtime.hollow import HollowRuntime
from tests.cloud.cluster import FakeProvider
from tests.kubelet.support import NODE, running
from tests.support.api import FaultyApi


def one_node(api: FaultyApi) -> core.Node:
    return next(node for node in api.all(core.Node) if node.metadata.name == NODE)


def told(api: FaultyApi, kind: str) -> core.NodeCondition:
    found = get_condition(one_node(api).status, kind)
    assert isinstance(found, core.NodeCondition)
    return found


async def test_it_waits_with_a_taint_and_keeps_what_it_was_told(tmp_path: Path) -> None:
    machine = cloud.Instance(state=cloud.INSTANCE_STATE_RUNNING, provider_id="fake://i-1", zone="a")
    machine.addresses.add(type="ExternalIP", address="203.0.113.7")
    provider = FakeProvider(instances={NODE: machine})
    external: dict[str, Any] = {"cloud_provider": "external", "status_check_seconds": 0.02, "status_report_seconds": 0.02}
    async with running(HollowRuntime(""), tmp_path, **external) as cluster:
        node = one_node(cluster.api)
        assert [(taint.key, taint.value, taint.effect) for taint in node.spec.taints] == [
            (UNINITIALIZED, "true", "NoSchedule"),
            (NOT_READY, "", "NoSchedule"),
        ]
        kind = ProviderType(dict, lambda options, environment: provider)
        manager = asyncio.create_task(CloudControllerManager(cluster.api.client(), CloudSettings(), kind=kind).run())
        try:
            # The other one is the node lifecycle's, which does not run here.
            await cluster.until(lambda: [taint.key for taint in one_node(cluster.api).spec.taints] == [NOT_READY])
            await cluster.until(lambda: told(cluster.api, "NetworkUnavailable").reason == "RouteCreated")
            beats = _heartbeat(cluster.api)
            await cluster.until(lambda: _heartbeat(cluster.api) > beats)
        finally:
            manager.cancel()
            await asyncio.wait([manager])
        node = one_node(cluster.api)
        assert [(found.type, found.address) for found in node.status.addresses] == [("ExternalIP", "203.0.113.7"), ("Hostname", NODE)]
        assert node.spec.provider_id == "fake://i-1"
        assert told(cluster.api, "NetworkUnavailable").reason == "RouteCreated"
        assert told(cluster.api, "Ready").status == "True"


def _heartbeat(api: FaultyApi) -> float:
    stamp = told(api, "Ready").last_heartbeat_time
    return float(stamp.seconds + stamp.nanos / 1e9)


async def test_it_brings_its_provider_id_and_another_start_adds_no_taint(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"cloud_provider": "external", "provider_id": "fake://i-7"}
    async with running(HollowRuntime(""), tmp_path, **settings) as cluster:
        node = one_node(cluster.api)
        assert node.spec.provider_id == "fake://i-7"
        del node.spec.taints[:]
        await cluster.client.update(node)
    async with running(HollowRuntime(""), tmp_path, cluster.api, **settings):
        assert not one_node(cluster.api).spec.taints

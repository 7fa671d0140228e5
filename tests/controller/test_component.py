"""The manager as a component: its gRPC service, leadership, stop."""

from __future__ import annotations

import asyncio
from typing import cast

import grpc
import grpc.aio
import pytest
from prometheus_client import REGISTRY

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.controller.v1 import controller_service_pb2 as api
from knarr.api.controller.v1 import controller_service_pb2_grpc as api_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.leader import Election
from knarr.client.reconciler import Again, Reconciler
from knarr.machinery.errors import StatusError
from knarr.objects.keys import Key
from services.controller.catalog import CONTROLLERS
from services.controller.component import ControllerManager
from services.controller.metrics import show_queues
from services.controller.servicer import ControllerServicer
from services.controller.settings import ControllerSettings
from tests.controller.cluster import cluster
from tests.controller.objects import deployment, node, replica_set, service
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

METRICS = ("knarr_controller_queue_depth", "knarr_controller_syncs", "knarr_controller_errors")


async def forget(key: Key) -> Again | None:
    return None


def told(name: str, controller: str) -> float | None:
    """What the metrics say."""
    return REGISTRY.get_sample_value(name, {"controller": controller})


async def test_the_metrics_tell_of_the_queues_as_they_are_when_they_are_asked() -> None:
    queue = Reconciler("told", forget)
    show_queues({"told": queue})
    assert [told(name, "told") for name in METRICS] == [0, 0, 0]
    queue.enqueue(Key("default", "a"))
    assert [told(name, "told") for name in METRICS] == [1, 0, 0]
    # Another leader's are those that count then.
    show_queues({"told": Reconciler("told", forget)})
    assert [told(name, "told") for name in METRICS] == [0, 0, 0]


async def test_the_service_answers_over_grpc() -> None:
    manager = ControllerManager(FaultyApi().client())
    server = grpc.aio.server()
    assert manager.register(server) == ["knarr.api.controller.v1.ControllerService"]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    task = asyncio.create_task(manager.run())
    try:
        async with asyncio.timeout(10), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = api_grpc.ControllerServiceStub(channel)
            response = await stub.ListControllers(api.ListControllersRequest())
            while not response.leader:
                response = await stub.ListControllers(api.ListControllersRequest())
            assert {found.name for found in response.controllers} == {controller.name for controller in CONTROLLERS}
            await stub.Sync(api.SyncRequest(controller="replicaset", key="default/none"))
            answer = await stub.GetKey(api.GetKeyRequest(controller="replicaset", key="default/none"))
            while not answer.last_sync_seconds:
                answer = await stub.GetKey(api.GetKeyRequest(controller="replicaset", key="default/none"))
            assert (answer.failures, answer.last_error) == (0, "")
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)
        await server.stop(0)
    assert task.cancelled()
    assert not manager.ready


async def test_an_unknown_controller_is_not_found() -> None:
    servicer = ControllerServicer({}, lambda: True)
    with pytest.raises(StatusError, match='controllers "nope" not found'):
        servicer._queue("nope")


async def test_keys_that_want_something_are_listed_within_a_limit() -> None:
    queues = {name: Reconciler(name, forget) for name in ("deployment", "job")}
    for name in ("a", "b", "c"):
        queues["job"].enqueue(Key("default", name))
    queues["deployment"].enqueue_after(Key("default", "web"), 60.0)
    servicer = ControllerServicer(queues, lambda: True)
    context = cast(grpc.aio.ServicerContext, None)
    answer = await servicer.ListKeys(api.ListKeysRequest(limit=2), context)
    told = [(key.controller, key.key, key.state, round(key.next_in_seconds)) for key in answer.keys]
    planned, queued = api.KEY_STATE_PLANNED, api.KEY_STATE_QUEUED
    assert told == [("deployment", "default/web", planned, 60), ("job", "default/a", queued, 0), ("job", "default/b", queued, 0)]
    assert answer.left_out == 1
    only = await servicer.ListKeys(api.ListKeysRequest(controller="job"), context)
    assert [key.key for key in only.keys] == ["default/a", "default/b", "default/c"]
    with pytest.raises(StatusError, match='controllers "nope" not found'):
        await servicer.ListKeys(api.ListKeysRequest(controller="nope"), context)


@virtual_time
async def test_only_the_leader_acts_and_another_takes_over() -> None:
    memory = FaultyApi(VirtualClock())
    managers = [
        ControllerManager(memory.client(), ControllerSettings(election=Election(name, held=True)), clock=VirtualClock())
        for name in ("first", "second")
    ]
    memory.seed(node())
    first, second = (asyncio.create_task(manager.run()) for manager in managers)
    try:
        await asyncio.sleep(1)
        assert [manager._working for manager in managers].count(True) == 1
        if managers[1]._working:
            first, second = second, first
        await memory.client().create(replica_set())
        await asyncio.sleep(1)
        assert len(memory.all(core.Pod)) == 3
        first.cancel()
        await asyncio.wait([first], timeout=10)
        await asyncio.sleep(30)
        target = memory.all(apps.ReplicaSet)[0]
        target.spec.replicas = 5
        await memory.client().update(target)
        await asyncio.sleep(1)
        assert len(memory.all(core.Pod)) == 5
    finally:
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second], timeout=10)


@virtual_time
async def test_everything_comes_to_rest() -> None:
    """A settled cluster is written to no more: no controller fights another."""
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(deployment())
        await c.client.create(service())
        await c.until(lambda: len(c.ready_pods()) == 3)
        await asyncio.sleep(5)
        before = len(c.api.writes)
        await asyncio.sleep(15)
        assert c.api.writes[before:] == []

"""The scheduler against an API server, over gRPC with TLS, in real time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduler.v1 import explain_pb2
from knarr.api.scheduler.v1 import scheduler_service_pb2 as api
from knarr.api.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from knarr.client.client import Client
from knarr.objects.conditions import get_condition
from services.apiserver.in_memory import ApiInMemory
from services.scheduler.component import Scheduler
from tests.scheduler.objects import node, pod
from tests.support.rpc import rpc_client

PATIENCE_SECONDS = 20


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a fresh API server."""
    async with ApiInMemory() as server, rpc_client(server.server, tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ready_node(client: Client, name: str) -> None:
    """Creates a node and takes off the taint that every new node gets until it is ready."""
    created = await client.create(node(name, cpu="2"))
    del created.spec.taints[:]
    await client.update(created)


async def until(client: Client, name: str, wanted: str) -> core.Pod:
    """Watches a pod until its PodScheduled condition has the status."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await client.get(core.Pod, name, "default")
        async with contextlib.aclosing(
            client.watch(core.Pod, "default", resource_version=found.metadata.resource_version)  # type: ignore[type-var]
        ) as stream:
            while True:
                condition = get_condition(found.status, "PodScheduled")
                if condition is not None and condition.status == wanted:
                    return found
                for event in await anext(stream):
                    if event.object.metadata.name == name:
                        found = event.object


async def test_pods_are_placed_refused_and_placed_when_there_is_room(client: Client) -> None:
    await ready_node(client, "n1")
    scheduler = Scheduler(client)
    server = grpc.aio.server()
    assert scheduler.register(server) == ["knarr.api.scheduler.v1.SchedulerService"]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with running(scheduler.run()), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for name in ("a", "b"):
            await client.create(pod(name, cpu="2"))
        placed = await until(client, "a", "True")
        assert placed.spec.node_name == "n1"
        refused = await until(client, "b", "False")
        message = "0/1 nodes are available: 1 Insufficient cpu."
        told = f"{message} preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        assert [(entry.reason, entry.message) for entry in refused.status.conditions if entry.type == "PodScheduled"] == [
            ("Unschedulable", told)
        ]
        stub = SchedulerServiceStub(channel)
        answer = await stub.Explain(explain_pb2.ExplainRequest(namespace="default", pod="b"))
        assert answer.summary == message and [verdict.refused_by for verdict in answer.verdicts] == ["NodeResourcesFit"]
        queue = await stub.GetQueue(api.GetQueueRequest())
        assert [(entry.pod, entry.state) for entry in queue.pods] == [("b", "unschedulable")]
        await ready_node(client, "n2")
        assert (await until(client, "b", "True")).spec.node_name == "n2"
        await server.stop(0)

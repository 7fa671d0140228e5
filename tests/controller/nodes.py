"""Nodes that beat, fall silent and come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from tests.controller.cluster import Cluster
from tests.controller.objects import condition_of, node

LEASES = "kube-node-lease"
BEAT_SECONDS = 10.0


def lease(name: str) -> coordination.Lease:
    result = coordination.Lease()
    result.metadata.name, result.metadata.namespace = name, LEASES
    result.spec.renew_time.seconds = 1
    return result


def named(c: Cluster, name: str) -> core.Node:
    return next(found for found in c.api.all(core.Node) if found.metadata.name == name)


async def beat(c: Cluster, name: str) -> None:
    def renew(obj: coordination.Lease) -> None:
        obj.spec.renew_time.seconds += 1

    await c.edit(coordination.Lease, name, renew, LEASES)


async def say(c: Cluster, name: str, ready: str = "True") -> None:
    """What its kubelet says of itself."""

    def change(obj: core.Node) -> None:
        condition_of(obj.status, "Ready").status = ready

    await c.edit(core.Node, name, change, "", "status")


@contextlib.asynccontextmanager
async def beating(c: Cluster, *names: str, **labels: str) -> AsyncIterator[None]:
    """Nodes with these labels that are there and well until the end."""
    for name in names:
        made = node(name)
        made.metadata.labels.update(labels)
        c.api.seed(made, lease(name))
    task = asyncio.create_task(_beat_on(c, names))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _beat_on(c: Cluster, names: tuple[str, ...]) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        for name in names:
            await beat(c, name)

"""Each of the cloud's controllers works alone, and all of them in any order."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.cloud.catalog import CONTROLLERS
from services.cloud.controller import CloudController
from tests.cloud.cluster import FakeProvider, cluster, node, service
from tests.support.virtual_time import virtual_time


def name_of(controllers: tuple[type[CloudController], ...]) -> str:
    return " ".join(found.name for found in controllers)


@pytest.mark.parametrize("controllers", [*((found,) for found in CONTROLLERS), *itertools.permutations(CONTROLLERS)], ids=name_of)
@virtual_time
async def test_none_lives_on_what_another_has_declared(
    controllers: tuple[type[CloudController], ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(FakeProvider(), controllers=controllers, node_monitor_seconds=1.0) as c:
        c.api.seed(node("node-1", pod_cidr="10.244.0.0/24"), node("node-2", "False"))
        await c.client.create(service())
        await asyncio.sleep(5)
        await c.client.delete(core.Service, "web", "default")
        await c.client.delete(core.Node, "node-1")
        await asyncio.sleep(5)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []

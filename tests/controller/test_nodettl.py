"""How long kubelets may go by what they have read: by the number of nodes, which may waver."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.controller.controllers.nodettl.controller import NodeTtlController
from services.controller.controllers.nodettl.decide import STEPS, TTL, step_of
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import node
from tests.support.virtual_time import virtual_time


@pytest.mark.parametrize(
    ("nodes", "before", "seconds"),
    [(0, 0, 0), (100, 0, 0), (101, 0, 15), (90, 1, 15), (89, 1, 0), (5000, 0, 300), (1800, 4, 300), (1799, 4, 60), (1, 4, 0)],
)
def test_the_step_for_that_many_nodes(nodes: int, before: int, seconds: int) -> None:
    assert STEPS[step_of(nodes, before)].seconds == seconds


def told(c: Cluster) -> set[str]:
    return {found.metadata.annotations.get(TTL, "") for found in c.api.all(core.Node)}


@virtual_time
async def test_all_are_told_when_they_become_many_and_when_they_are_few_again() -> None:
    async with cluster(kubelet=False, controllers=(NodeTtlController,)) as c:
        c.api.seed(*(node(f"node-{number}") for number in range(100)))
        await c.until(lambda: told(c) == {"0"})
        await c.client.create(node("one-more"))
        await c.until(lambda: told(c) == {"15"})
        for number in range(12):
            await c.client.delete(core.Node, f"node-{number}")
        await c.until(lambda: told(c) == {"0"})


@virtual_time
async def test_what_somebody_else_writes_is_put_right() -> None:
    async with cluster(kubelet=False, controllers=(NodeTtlController,)) as c:
        c.api.seed(node())
        await c.until(lambda: told(c) == {"0"})
        await c.client.patch(core.Node, "node-1", patch={"metadata": {"annotations": {TTL: "soon"}}})
        await c.until(lambda: told(c) == {"0"})

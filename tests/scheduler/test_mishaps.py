"""The scheduler comes to the same end, whatever befalls it: a crash at each binding, each event lost, a server that is behind."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.component import Scheduler
from tests.scheduler.objects import node, pod
from tests.support.mishaps import Kind, Scenario, World, play, wrongs
from tests.support.rights import SCHEDULER

# Longer than whatever it waits for, a relist after a lost event included.
STEP_SECONDS = 90.0


def app() -> core.Pod:
    made = pod("", cpu="1")
    made.metadata.generate_name = "app-"
    return made


async def placed(w: World) -> None:
    """Room for two of three pods; the third one waits until a node comes, a fourth one until a pod has gone."""
    w.api.seed(node("node-1", cpu="2"))
    for _ in range(3):
        await w.client.create(app())
    await asyncio.sleep(STEP_SECONDS)
    w.api.seed(node("node-2", cpu="1"))
    await asyncio.sleep(STEP_SECONDS)
    await w.client.create(app())
    await asyncio.sleep(STEP_SECONDS)
    gone = next(found for found in w.api.all(core.Pod) if found.spec.node_name == "node-2")
    await w.client.delete(core.Pod, gone.metadata.name, "default", grace_period_seconds=0)
    await asyncio.sleep(STEP_SECONDS)


def none_is_too_full(w: World) -> None:
    nodes = sorted(found.spec.node_name for found in w.api.all(core.Pod))
    assert nodes == ["node-1", "node-1", "node-2"]


SCENARIO = Scenario(
    lambda world, client: Scheduler(client, clock=world.clock),
    placed,
    check=none_is_too_full,
    user=SCHEDULER,
    # Which of the pods waits is as it comes.
    free=frozenset({"Pod.spec.nodeName"}),
)


def test_it_has_something_to_do() -> None:
    clean = play(SCENARIO)
    assert sum("Binding" in what for what in clean.writes) == 4
    assert clean.events and clean.made and clean.final


# Two that place pods at once may fill a node twice, whose kubelet then refuses one: it is the lease that keeps them apart.
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.NONE, Kind.PAIRED)])
def test_it_comes_to_the_same_end(kind: Kind) -> None:
    assert wrongs(SCENARIO, kind) == []

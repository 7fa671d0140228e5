"""The scheduler comes to the same end, whatever befalls it: a crash at each binding, each event lost, a server that is behind."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
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


async def preempted(w: World) -> None:
    """A pod of higher priority takes the place of one that goes at once."""
    for value in (1, 10):
        found = scheduling.PriorityClass(value=value, preemption_policy="PreemptLowerPriority")
        found.metadata.name = f"p{value}"
        w.api.seed(found)
    w.api.seed(node("node-1", cpu="1"))
    for name, priority in (("low", 1), ("urgent", 10)):
        made = pod(name, cpu="1")
        made.spec.priority_class_name, made.spec.termination_grace_period_seconds = f"p{priority}", 0
        await w.client.create(made)
        await asyncio.sleep(STEP_SECONDS)


def the_urgent_one_is_there(w: World) -> None:
    assert [(found.metadata.name, found.spec.node_name) for found in w.api.all(core.Pod)] == [("urgent", "node-1")]


def none_is_too_full(w: World) -> None:
    nodes = sorted(found.spec.node_name for found in w.api.all(core.Pod))
    assert nodes == ["node-1", "node-1", "node-2"]


SCENARIOS = {
    "placed": Scenario(
        lambda world, client: Scheduler(client, clock=world.clock),
        placed,
        check=none_is_too_full,
        user=SCHEDULER,
        # Which of the pods waits is as it comes.
        free=frozenset({"Pod.spec.nodeName"}),
    ),
    "preempted": Scenario(
        lambda world, client: Scheduler(client, clock=world.clock), preempted, check=the_urgent_one_is_there, user=SCHEDULER
    ),
}


@pytest.mark.parametrize(("name", "writes"), [("placed", 4), ("preempted", 2)])
def test_it_has_something_to_do(name: str, writes: int) -> None:
    clean = play(SCENARIOS[name])
    assert sum("Binding" in what for what in clean.writes) == writes
    assert clean.events and clean.made and clean.final


# Two that place pods at once may fill a node twice, whose kubelet then refuses one: it is the lease that keeps them apart.
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.NONE, Kind.PAIRED)])
@pytest.mark.parametrize("name", SCENARIOS)
def test_it_comes_to_the_same_end(name: str, kind: Kind) -> None:
    assert wrongs(SCENARIOS[name], kind) == []

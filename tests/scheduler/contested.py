"""A whole scheduler with a node that has room for one pod, and pods of several priorities that want it."""

from __future__ import annotations

import asyncio

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from services.scheduler.settings import SchedulerSettings
from tests.scheduler.objects import node, pod
from tests.scheduler.test_component import Fixture


def fixture(cpu: str = "1") -> Fixture:
    """A node for one pod, and classes of priority."""
    made = Fixture(node("n1", cpu=cpu), settings=SchedulerSettings(seed=1))
    for value, policy_of in ((5, ""), (10, ""), (20, ""), (11, "Never")):
        found = scheduling.PriorityClass(value=value, preemption_policy=policy_of or "PreemptLowerPriority")
        found.metadata.name = f"p{value}"
        made.api.seed(found)
    return made


def classed(name: str, priority: int, cpu: str = "1") -> core.Pod:
    found = pod(name, cpu)
    found.spec.priority_class_name = f"p{priority}"
    return found


async def let_it_wait(made: Fixture) -> None:
    """``low`` has the node and is told to go; ``urgent`` is promised its room."""
    await made.client.create(pod("low", "1"))
    await asyncio.sleep(1)
    await made.client.create(classed("urgent", 10))
    await asyncio.sleep(1)

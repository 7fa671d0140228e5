"""What is stored is not always what would be accepted today: it is counted all the same, and keeps nobody else from a node."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from services.scheduler.catalog import PLUGINS
from services.scheduler.decide import decide
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.clusters import table_of
from tests.scheduler.objects import Objects, node, pod, profile_of
from tests.support.virtual_time import virtual_time


def strange(name: str, side: str, node_name: str = "") -> core.Pod:
    """A pod with a selector that means nothing."""
    found = pod(name, "1", node_name=node_name)
    term = getattr(found.spec.affinity, side).required_during_scheduling_ignored_during_execution.add(topology_key="zone")
    term.label_selector.match_expressions.add(key="app", operator="Near", values=["web"])
    term.namespace_selector.match_expressions.add(key="team", operator="")
    return found


@pytest.mark.parametrize("side", ["pod_affinity", "pod_anti_affinity"])
def test_a_selector_that_means_nothing_chooses_nobody_and_its_pod_counts(side: str) -> None:
    @virtual_time
    async def scenario() -> None:
        state = SchedulerState(SchedulerSettings(), Objects(), asyncio.get_running_loop().time)
        state.node_changed(None, node("n1", cpu="1", labels={"zone": "a"}))
        state.node_changed(None, node("n2", cpu="1", labels={"zone": "a"}))
        state.pod_changed(None, strange("there", side, "n1"))
        other = PodFacts.of(pod("other", "1"))
        assert decide(state.table, state.profiles[DEFAULT_SCHEDULER], other, random.Random(0)).node == "n2"
        # One that waits is judged: near to nobody is nowhere, away from nobody anywhere.
        state.pod_changed(None, strange("waits", side))
        waiting = await state.queue.take()
        node_name = decide(state.table, state.profiles[DEFAULT_SCHEDULER], waiting.pod, random.Random(0)).node
        assert node_name == ("" if side == "pod_affinity" else "n2")

    scenario()


def test_a_constraint_whose_selector_means_nothing_counts_nobody() -> None:
    found = pod("a")
    constraint = found.spec.topology_spread_constraints.add(max_skew=1, topology_key="zone", when_unsatisfiable="DoNotSchedule")
    constraint.label_selector.match_expressions.add(key="app", operator="Near")
    table = table_of([node("n1", labels={"zone": "a"})], [])
    assert decide(table, profile_of([plugin(Objects()) for plugin in PLUGINS]), PodFacts.of(found), random.Random(0)).node == "n1"


@pytest.mark.parametrize("size", [-(2**63), -1, 2**63 - 1])
def test_no_size_of_an_image_is_too_strange_to_be_scored(size: int) -> None:
    nodes: list[Any] = [node("n1"), node("n2")]
    nodes[0].status.images.add(names=["busybox:latest"], size_bytes=size)
    table = table_of(nodes, [])
    images = next(plugin for plugin in PLUGINS if plugin.name == "ImageLocality")(Objects())
    wanted = pod("a")
    wanted.spec.containers.add(name="more", image="busybox")
    scores = images.score(PodFacts.of(wanted), table, np.arange(2))
    assert (scores is None) == (size < 0)
    assert scores is None or scores.tolist() == [100, 0]


@virtual_time
async def test_what_a_placed_pod_says_of_itself_is_known_as_it_is_now() -> None:
    """When it began tells who goes first."""
    state = SchedulerState(SchedulerSettings(), Objects(), asyncio.get_running_loop().time)
    state.node_changed(None, node("n1"))
    found = pod("a", node_name="n1")
    state.pod_changed(None, found)
    begun = copy_of(found)
    begun.status.start_time.seconds = 5
    state.pod_changed(found, begun)
    assert state.table.pods_of("n1")[found.metadata.uid].pod is begun
    state.validate()

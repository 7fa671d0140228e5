"""Who is to go is found without judging all nodes for each of them, and it is found as if one had."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from knarr.objects.node_selection import names_in
from services.scheduler.backing import backing
from services.scheduler.catalog import PLUGINS
from services.scheduler.decide import decide
from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import Part, Subject
from services.scheduler.plugin import Plugin
from services.scheduler.plugins.interpodaffinity.plugin import NOT_NEAR
from services.scheduler.plugins.podtopologyspread.plugin import UNLABELLED
from services.scheduler.plugins.resources.plugin import Resources
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import NO_VICTIMS, NOT_HELPFUL, Search
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.queue import State
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from services.scheduler.view import View
from tests.scheduler.clusters import CLUSTERS, crowds, namespaces, storage_objects, table_of, web_service
from tests.scheduler.objects import Objects, node, pod
from tests.support.virtual_time import virtual_time

WORLD = Objects(web_service(), *namespaces(), *storage_objects())
Placed = Sequence[tuple[PodFacts, str]]


def ranked(facts: PodFacts, priority: int) -> PodFacts:
    found = copy_of(facts.pod)
    found.spec.priority = priority
    return PodFacts.of(found)


@st.composite
def ranked_clusters(draw: Any) -> tuple[list[core.Node], Placed, PodFacts, Placed]:
    """Nodes, pods on them of priorities 0 to 3, one that waits with 2, and others that were promised nodes."""
    nodes, placed, waiting = draw(st.one_of(CLUSTERS, crowds()))
    pods = [(ranked(facts, draw(st.integers(0, 3))), name) for facts, name in placed]
    count = draw(st.integers(0, min(2, len(pods))))
    return nodes, pods[count:], ranked(waiting[0], 2), [(ranked(facts, 3), name) for facts, name in pods[:count]]


def plainly(table: NodeTable, plugins: Sequence[Plugin], wanted: PodFacts, reserved: Placed) -> dict[str, str | list[str]]:
    """For each node who is to go, or why that would not help: by a view for each question, judged by all plugins for all nodes."""

    named = names_in(wanted.pod.spec)

    def refusing(view: View, row: int) -> Plugin | None:
        if named is not None and view.node(row).metadata.name not in named:
            return next(plugin for plugin in plugins if plugin.name == "NodeAffinity")
        masks = ((plugin, plugin.filter(wanted, view)) for plugin in plugins)
        return next((plugin for plugin, mask in masks if mask is not None and not mask[row]), None)

    def stays(plugin: Plugin, view: View, row: int) -> bool:
        """Whether a refusal is one whichever pods leave, by its words and the amounts."""
        if plugin.name == "NodeResourcesFit":
            offered = {name: int(view.allocatable[name][row]) if name in view.allocatable else 0 for name in wanted.requests}
            # What devices stand for is no matter of the node's amounts where it has none.
            backed = backing(wanted, WORLD) if wanted.extended else ()
            return any(amount > offered[name] and (offered[name] or name not in backed) for name, amount in wanted.requests.items())
        return not plugin.reads_placed or plugin.reasons(wanted, view, row) in ([NOT_NEAR], [UNLABELLED])

    def judged(name: str, row: int) -> str | list[str]:
        seen = View(table)
        for facts, at in reserved:
            seen.put_pod(facts, at)
        if (first := refusing(seen, row)) is not None and stays(first, seen, row):
            return NOT_HELPFUL
        lower = sorted((facts for facts in table.pods_on(row).values() if facts.priority < 2), key=lambda facts: -facts.priority)
        if not lower:
            return NO_VICTIMS
        view = View(table)
        for facts, at in reserved:
            view.put_pod(facts, at)
        for facts in lower:
            view.remove_pod(facts.uid)
        if (plugin := refusing(view, row)) is not None:
            return ", ".join(plugin.reasons(wanted, view, row))
        victims = []
        for facts in lower:
            view.put_pod(facts, name)
            if refusing(view, row) is not None:
                view.remove_pod(facts.uid)
                victims.append(facts.uid)
        return victims or NO_VICTIMS

    return {name: judged(name, row) for name, row in table.rows.items()}


@given(ranked_clusters(), st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_room_is_found_as_by_judging_every_node_for_every_pod(cluster: Any, seed: int) -> None:
    nodes, placed, wanted, reserved = cluster
    table, plugins = table_of(nodes, placed), [plugin(WORLD) for plugin in PLUGINS]
    answer = Search(table, plugins, wanted, (), reserved).run(random.Random(seed))
    expected = plainly(table, [plugin(WORLD) for plugin in PLUGINS], wanted, reserved)
    assert answer.reasons == Counter(words for words in expected.values() if isinstance(words, str))
    found = answer.preemption
    assert (found is None) == all(isinstance(words, str) for words in expected.values())
    if found is not None:
        assert sorted(victim.uid for victim in found.victims) == sorted(expected[found.node])
    table.validate()


@given(st.one_of(CLUSTERS, crowds()))
@settings(max_examples=100, deadline=None)
def test_what_is_said_of_one_row_is_what_is_said_of_all(cluster: Any) -> None:
    nodes, placed, waiting = cluster
    table, plugins = table_of(nodes, placed), [plugin(WORLD) for plugin in PLUGINS]
    for plugin in plugins:
        for facts in waiting:
            mask = plugin.filter(facts, table)
            accepted = {row: mask is None or bool(mask[row]) for row in table.rows.values()}
            assert {row: plugin.accepts(facts, table, row) for row in accepted} == accepted, plugin.name
            refused = np.array([row for row, fits in accepted.items() if not fits], np.intp)
            told = list(plugin.all_reasons(facts, table, refused))
            assert told == [plugin.reasons(facts, table, int(row)) for row in refused] and all(told), plugin.name


@given(st.one_of(CLUSTERS, crowds()))
@settings(max_examples=60, deadline=None)
def test_who_does_not_look_across_nodes_does_not_see_the_pods_of_others(cluster: Any) -> None:
    nodes, placed, waiting = cluster
    table, plugins = table_of(nodes, placed), [plugin(WORLD) for plugin in PLUGINS if not plugin.across]
    for name, row in table.rows.items():
        view = View(table)
        for facts, at in placed:
            if at != name:
                view.remove_pod(facts.uid)
        for plugin in plugins:
            assert all(plugin.accepts(facts, view, row) == plugin.accepts(facts, table, row) for facts in waiting), plugin.name


class Counted(Resources):
    """Counts how often all nodes are judged."""

    asked: ClassVar[int] = 0

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        Counted.asked += 1
        return super().filter(pod, nodes)


class Across(Plugin):
    """Accepts no node, and minds the pods of one label."""

    name: ClassVar[str] = "Across"
    reads: ClassVar[frozenset[Part]] = frozenset({Part(Subject.PLACED, "metadata.labels")})
    across: ClassVar[bool] = True
    asked: ClassVar[int] = 0

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        Across.asked += 1
        return np.zeros(nodes.size, np.bool_)

    def reasons(self, pod: PodFacts, nodes: Nodes, row: int) -> list[str]:
        return ["never"]

    def minded(self, pod: PodFacts) -> Any:
        return lambda other: "minded" in other.labels


@pytest.mark.parametrize("minded", [0, 3])
def test_all_nodes_are_judged_no_more_often_than_pods_go_that_are_minded(minded: int) -> None:
    nodes = [node(f"n{number}", cpu="2") for number in range(30)]
    placed = []
    for number in range(60):
        found = pod(f"p{number}", "1", node_name=f"n{number % 30}")
        if number < minded:
            found.metadata.labels["minded"] = "yes"
        placed.append((PodFacts.of(found), found.spec.node_name))
    table = table_of(nodes, placed)
    Counted.asked = Across.asked = 0
    answer = Search(table, [Counted(WORLD), Across(WORLD)], PodFacts.of(pod("x", "1", priority=1)), ()).run(random.Random(0))
    assert answer.reasons == {"never": 30}
    # Once as they are; where a pod leaves that is minded, anew.
    assert (Counted.asked, Across.asked) == (0, 1 + minded)


@virtual_time
async def test_a_node_that_goes_takes_its_pods_along() -> None:
    """Who may not be in a zone with one of them can be there now."""
    state = SchedulerState(SchedulerSettings(), Objects(), asyncio.get_running_loop().time)
    gone = node("n1", labels={"zone": "a"})
    for found in (gone, node("n2", labels={"zone": "a"})):
        state.node_changed(None, found)
    web = pod("web", node_name="n1")
    web.metadata.labels["app"] = "web"
    state.pod_changed(None, web)
    lonely = pod("lonely")
    term = lonely.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.add(topology_key="zone")
    term.label_selector.match_labels["app"] = "web"
    state.pod_changed(None, lonely)
    waiting = await state.queue.take()
    decision = decide(state.table, state.profiles[DEFAULT_SCHEDULER], waiting.pod, random.Random(0))
    assert not decision.node
    state.queue.refuse(waiting, decision.refused_by)
    state.node_changed(gone, None)
    assert waiting.state is not State.UNSCHEDULABLE
    assert decide(state.table, state.profiles[DEFAULT_SCHEDULER], waiting.pod, random.Random(0)).node == "n2"

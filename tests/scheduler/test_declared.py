"""Plugins read what they declare, and what is cached or refused is looked at again when that changes."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given, settings

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.catalog import PLUGINS
from services.scheduler.decide import decide
from services.scheduler.node_table import NodeTable
from services.scheduler.parts import NODE_NAME, Part, Subject
from services.scheduler.plugin import Cluster, Plugin
from services.scheduler.pod_facts import SOURCES, PodFacts, facts_of
from services.scheduler.profile import DEFAULT_SCHEDULER, ProfileSettings
from services.scheduler.queue import Waiting
from services.scheduler.row_cache import RowCache
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.clusters import namespaces, pods, random_clusters, storage_objects, table_of, web_service
from tests.scheduler.objects import NeedsTeam, Objects, node, pod
from tests.scheduler.watched import UndeclaredRead, ask_everything

IMAGES = Part(Subject.NODE, "status.images")
CONTAINERS = Part(Subject.POD, "spec.containers")


def example() -> type[Plugin]:
    """The plugin that CONTRIBUTING.md shows."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    source = text[text.index('```python\n"""Nodes that have') + len("```python\n") :]
    names: dict[str, Any] = {"__name__": "example"}
    exec(source[: source.index("```")], names)
    found: type[Plugin] = names["ImagePresence"]
    return found


ImagePresence = example()


class Secretive(ImagePresence):  # type: ignore[misc, valid-type]
    """Does not say that it reads images."""

    name: ClassVar[str] = "Secretive"
    reads: ClassVar[frozenset[Part]] = frozenset({NODE_NAME, CONTAINERS})


def state_of(*plugins: type[Plugin], cluster: Cluster | None = None) -> SchedulerState:
    return SchedulerState(SchedulerSettings(profiles=(ProfileSettings.of(plugins),)), cluster or Objects(), lambda: 0.0)


def with_image(name: str, image: str) -> core.Node:
    found = node(name)
    found.status.images.add(names=[image], size_bytes=1000)
    return found


def test_a_cached_score_follows_what_the_plugin_declares() -> None:
    state = state_of(ImagePresence)
    first, second = node("n1"), node("n2")
    for found in (first, second):
        state.node_changed(None, found)
    wanted = PodFacts.of(pod("a"))
    chosen = {decide(state.table, state.profiles[DEFAULT_SCHEDULER], wanted, random.Random(seed)).node for seed in range(20)}
    assert chosen == {"n1", "n2"}
    state.node_changed(second, with_image("n2", "busybox"))
    assert {decide(state.table, state.profiles[DEFAULT_SCHEDULER], wanted, random.Random(seed)).node for seed in range(20)} == {"n2"}


def test_what_nobody_declares_changes_nothing() -> None:
    table = state_of(*PLUGINS).table
    table.put_node(node("n1"))
    version = table.version
    named = node("n1")
    named.spec.provider_id = "aws:///eu-north-1a/i-1"
    assert not table.put_node(named)
    assert table.version == version


def test_only_the_cache_that_depends_on_a_part_computes_again() -> None:
    calls: list[str] = []

    def by_image(question: str, found: core.Node) -> int:
        calls.append(found.metadata.name)
        return 0

    labels = Part(Subject.NODE, "metadata.labels")
    table, cache = NodeTable([IMAGES, labels]), RowCache([IMAGES, CONTAINERS], by_image, np.int64)
    table.put_node(node("n1"))
    cache.get(table, "q", "q")
    table.put_node(node("n1", labels={"colour": "red"}))
    cache.get(table, "q", "q")
    assert calls == ["n1"]
    table.put_node(with_image("n1", "busybox"))
    cache.get(table, "q", "q")
    assert calls == ["n1", "n1"]


def test_a_cache_refuses_a_table_that_does_not_compare_what_it_depends_on() -> None:
    cache: RowCache[str, np.int64] = RowCache([IMAGES], lambda question, found: 0, np.int64)
    with pytest.raises(ValueError, match=r"does not compare status\.images of nodes"):
        cache.get(NodeTable(), "q", "q")


def in_random_clusters(plugin: type[Plugin]) -> None:
    for found, placed, waiting in random_clusters(100):
        ask_everything(plugin, table_of(found, placed, [plugin]), waiting, Objects(web_service(), *namespaces(), *storage_objects()))


@pytest.mark.parametrize("plugin", [*PLUGINS, ImagePresence])
def test_plugins_read_only_what_they_declare(plugin: type[Plugin]) -> None:
    in_random_clusters(plugin)


@pytest.mark.parametrize("plugin", [*PLUGINS, ImagePresence])
def test_a_part_left_out_of_a_declaration_is_found(plugin: type[Plugin]) -> None:
    """Each part that a plugin declares is one that it reads."""
    for part in sorted(plugin.reads, key=str):
        less = type(plugin.__name__, (plugin,), {"reads": plugin.reads - {part}})
        try:
            in_random_clusters(less)
        except UndeclaredRead as error:
            assert f" of {part.subject.value}, " in str(error)
        else:
            pytest.fail(
                f"{plugin.name} declares {part.path} of {part.subject.value}, and was not seen to read it in tests/scheduler/clusters.py"
            )


def test_an_undeclared_read_says_who_read_what() -> None:
    table = NodeTable([NODE_NAME])
    table.put_node(with_image("n1", "busybox"))
    with pytest.raises(UndeclaredRead, match=r"Secretive reads status\.images of node, which its `reads` does not declare"):
        ask_everything(Secretive, table, [PodFacts.of(pod("a"))], Objects())


def test_a_plugin_must_declare_what_it_reads() -> None:
    with pytest.raises(TypeError, match="Forgetful must declare in `reads`"):
        type("Forgetful", (Plugin,), {"name": "Forgetful"})
    with pytest.raises(ValueError, match=r"Node has no field 'status\.picture'"):
        Part(Subject.NODE, "status.picture")
    with pytest.raises(ValueError, match=r"Pod has no field 'spec\.containers\.image'"):
        Part(Subject.POD, "spec.containers.image")


@given(pods(1), pods(1))
@settings(max_examples=200, deadline=None)
def test_the_facts_of_a_pod_come_from_where_is_said(one: core.Pod, other: core.Pod) -> None:
    for name in SOURCES:
        mixed = copy.deepcopy(one)
        # Without a parent the mask would leave what is below as it is.
        other.spec.affinity.SetInParent()
        mask = FieldMask(paths=[part.attribute for part in facts_of(Subject.POD, name)])
        mask.MergeMessage(other, mixed, replace_message_field=True, replace_repeated_field=True)
        assert getattr(PodFacts.of(mixed), name) == getattr(PodFacts.of(other), name), name


async def refused(state: SchedulerState, name: str, *by: str) -> Waiting:
    """A pod that waits after a filter refused it, as long as it takes to be past its pause."""
    state.pod_changed(None, pod(name))
    waiting = await state.queue.take()
    state.queue.refuse(waiting, frozenset(by))
    waiting.retry_at = 0.0
    return waiting


async def test_what_a_plugin_declares_wakes_what_it_refused() -> None:
    team = core.Namespace()
    team.metadata.name = "default"
    named = copy.deepcopy(team)
    named.metadata.labels["team"] = "blue"
    annotated = copy.deepcopy(team)
    annotated.metadata.annotations["note"] = "x"
    state = state_of(NeedsTeam, cluster=Objects(team))
    old = node("n1")
    state.node_changed(None, old)
    waiting = await refused(state, "a", "NeedsTeam")
    new = node("n1", labels={"colour": "red"})
    state.node_changed(old, new)
    state.object_changed(team, annotated)
    state.pod_changed(None, pod("placed", node_name="n1"))
    assert waiting.state.name == "UNSCHEDULABLE"
    state.object_changed(annotated, named)
    assert waiting.state.name == "ACTIVE"
    waiting = await refused(state, "b", "NeedsTeam")
    newer = copy.deepcopy(new)
    newer.status.node_info.kernel_version = "6.1"
    state.node_changed(new, newer)
    assert waiting.state.name == "ACTIVE"


async def test_a_changed_spec_is_tried_and_a_changed_status_is_not() -> None:
    state = state_of(*PLUGINS)
    state.node_changed(None, node("n1", cpu="500m"))
    waiting = await refused(state, "a", "NodeResourcesFit")
    same = pod("a")
    same.status.phase = "Pending"
    state.pod_changed(pod("a"), same)
    assert waiting.state.name == "UNSCHEDULABLE"
    state.pod_changed(same, pod("a", cpu="1"))
    assert waiting.state.name == "ACTIVE" and waiting.pod.requests == {"cpu": 1000}


async def test_a_pod_is_tried_when_the_one_comes_that_it_wants_to_be_near() -> None:
    state = state_of(*PLUGINS, cluster=Objects(*namespaces()))
    state.node_changed(None, node("n1"))
    near = pod("a")
    term = near.spec.affinity.pod_affinity.required_during_scheduling_ignored_during_execution.add(topology_key="kubernetes.io/hostname")
    term.label_selector.match_labels["app"] = "web"
    state.pod_changed(None, near)
    state.pod_changed(None, pod("b", cpu="100"))
    for by in ("InterPodAffinity", "NodeResourcesFit"):
        waiting = await state.queue.take()
        state.queue.refuse(waiting, frozenset({by}))
        waiting.retry_at = 0.0
    web = pod("web")
    web.metadata.labels["app"] = "web"
    state.assume(PodFacts.of(web), "n1")
    web = copy.deepcopy(web)
    web.spec.node_name = "n1"
    state.pod_changed(None, web)
    states = {waiting.pod.key.name: waiting.state.name for waiting in state.queue.entries()}
    assert states == {"a": "ACTIVE", "b": "UNSCHEDULABLE"}


async def test_a_pod_is_tried_when_another_shrinks_in_place() -> None:
    state = state_of(*PLUGINS)
    state.node_changed(None, node("n1", cpu="2"))
    large = pod("large", cpu="2", node_name="n1")
    state.pod_changed(None, large)
    state.pod_changed(None, pod("a", cpu="1"))
    waiting = await state.queue.take()
    state.queue.refuse(waiting, frozenset({"NodeResourcesFit"}))
    waiting.retry_at = 0.0
    state.pod_changed(large, pod("large", cpu="1500m", node_name="n1"))
    assert waiting.state.name == "UNSCHEDULABLE"
    state.pod_changed(large, pod("large", cpu="1", node_name="n1"))
    assert waiting.state.name == "ACTIVE"


@pytest.mark.parametrize("plugin", [plugin for plugin in PLUGINS if plugin.concerned_by])
def test_a_plugin_has_nothing_to_say_of_pods_that_do_not_concern_it(plugin: type[Plugin]) -> None:
    """So it makes no difference that it is not asked about them."""
    assert facts_of(Subject.POD, *plugin.concerned_by) <= plugin.reads
    spoke = 0
    for found, placed, waiting in random_clusters(100):
        table, asked = table_of(found, placed, [plugin]), plugin(Objects(web_service(), *namespaces(), *storage_objects()))
        rows = np.array(sorted(table.rows.values()), np.intp)
        for facts in waiting:
            silent = not asked.impossible(facts) and asked.filter(facts, table) is None and asked.score(facts, table, rows) is None
            spoke += not silent
            assert silent or not plugin.concerned_by.isdisjoint(facts.has), facts.has
    # NodeName speaks of pods alone that name a node themselves: those do not wait.
    assert spoke or plugin.name == "NodeName"


def test_a_plugin_cannot_be_concerned_by_what_pods_are_not_asked_for() -> None:
    with pytest.raises(TypeError, match=r"Odd declares in `concerned_by` labels; known are affinity_key, claims"):
        type("Odd", (Plugin,), {"name": "Odd", "reads": frozenset(), "concerned_by": frozenset({"labels"})})


def test_only_the_plugins_that_a_pod_concerns_are_asked() -> None:
    profile = state_of(*PLUGINS).profiles[DEFAULT_SCHEDULER]
    plain, claiming = pod("plain"), pod("claiming")
    claiming.spec.volumes.add(name="data").volume_source.persistent_volume_claim.claim_name = "data"
    asked = {plugin.name for plugin in profile.roster(PodFacts.of(plain)).filters}
    more = {plugin.name for plugin in profile.roster(PodFacts.of(claiming)).filters} - asked
    assert more == {"VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone"}
    assert "NodeName" not in asked and "NodeResourcesFit" in asked

"""A view with changes answers as a table on which they were made; the table stays as it was."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.catalog import PLUGINS
from services.scheduler.decide import decide, explain
from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Nodes
from services.scheduler.plugin import Plugin
from services.scheduler.pod_facts import PodFacts
from services.scheduler.tally import Tallies
from services.scheduler.view import View
from tests.scheduler.clusters import CLUSTERS, NODE_NAMES, namespaces, nodes, pods, storage_objects, table_of, web_service
from tests.scheduler.objects import Objects, node, pod, profile_of

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put_node"), nodes()),
        st.tuples(st.just("put_node"), nodes(names=st.sampled_from([f"new{number}" for number in range(20)]))),
        st.tuples(st.just("remove_node"), NODE_NAMES),
        st.integers(0, 7).flatmap(lambda number: st.tuples(st.just("put_pod"), pods(number).map(PodFacts.of), NODE_NAMES)),
        st.integers(0, 5).flatmap(lambda number: st.tuples(st.just("remove_pod"), pods(number).map(lambda found: found.metadata.uid))),
        st.tuples(st.just("cordon"), NODE_NAMES),
        st.tuples(st.just("move"), st.integers(0, 5), NODE_NAMES),
    ),
    max_size=12,
)


def apply(shown: Nodes, changes: list[tuple[Any, ...]]) -> None:
    for action, *arguments in changes:
        if action == "cordon":
            row = shown.rows.get(arguments[0])
            if row is not None:
                cordoned = copy.deepcopy(shown.node(row))
                cordoned.spec.unschedulable = True
                shown.put_node(cordoned)
        elif action == "move":
            number, target = arguments
            uids = (f"uid-{namespace}-p{number}" for namespace in ("default", "other"))
            for facts in [shown.pods_of(shown.node_of(uid))[uid] for uid in uids if shown.node_of(uid)]:
                shown.put_pod(facts, target)
        else:
            getattr(shown, action)(*arguments)


def snapshot(table: NodeTable) -> dict[str, Any]:
    """Everything in a table, to the bit."""

    def frozen(value: Any) -> Any:
        if isinstance(value, Tallies):
            # Answers that are kept are no part of what it holds.
            return value.pods(), copy.deepcopy(value.asked)
        if isinstance(value, np.ndarray):
            return value.dtype, value.tobytes()
        if isinstance(value, dict):
            return {key: frozen(entry) for key, entry in value.items()}
        return copy.deepcopy(value)

    return {name: frozen(value) for name, value in vars(table).items()}


def answers(shown: Nodes, plugins: list[Plugin], waiting: list[PodFacts]) -> Any:
    """What every plugin says of every node, by its name, and what is decided."""
    rows = np.array(sorted(shown.rows.values()), np.intp)
    names = [shown.node(int(row)).metadata.name for row in rows]
    told: list[Any] = []
    for facts in waiting:
        for plugin in plugins:
            mask, scores = plugin.filter(facts, shown), plugin.score(facts, shown, rows)
            accepted = {name: bool(mask[row]) for name, row in zip(names, rows, strict=True)} if mask is not None else None
            reasons = {
                name: plugin.reasons(facts, shown, int(row))
                for name, row in zip(names, rows, strict=True)
                if accepted and not accepted[name]
            }
            told.append((plugin.name, accepted, reasons, scores if scores is None else dict(zip(names, scores.tolist(), strict=True))))
        told.append(explain(shown, profile_of(plugins), facts))
        told.append((decide(shown, profile_of(plugins), facts, random.Random(0)).summary, len(shown)))
    return told


@given(CLUSTERS, CHANGES)
@settings(max_examples=120, deadline=None)
def test_a_view_answers_as_a_changed_table_and_leaves_the_table_alone(cluster: Any, changes: list[tuple[Any, ...]]) -> None:
    found, placed, waiting = cluster
    services = Objects(web_service(), *namespaces(), *storage_objects())
    plugins = [plugin(services) for plugin in PLUGINS]
    table = table_of(found, placed)
    as_it_was = answers(table, plugins, waiting)
    before = snapshot(table)
    view = View(table)
    apply(view, changes)
    shown = answers(view, plugins, waiting)
    assert snapshot(table) == before
    assert answers(table, plugins, waiting) == as_it_was
    changed = table_of(found, placed)
    apply(changed, changes)
    changed.validate()
    assert shown == answers(changed, [plugin(services) for plugin in PLUGINS], waiting)


def test_what_if_the_pods_of_one_node_were_gone() -> None:
    table = NodeTable()
    for name in ("n1", "n2"):
        table.put_node(node(name, cpu="1"))
        table.put_pod(PodFacts.of(pod(f"on-{name}", cpu="1")), name)
    plugins = [plugin(Objects()) for plugin in PLUGINS if plugin.name == "NodeResourcesFit"]
    urgent = PodFacts.of(pod("urgent", cpu="1"))
    assert not decide(table, profile_of(plugins), urgent, random.Random(0)).node
    view = View(table)
    view.remove_pod("uid-default-on-n2")
    assert decide(view, profile_of(plugins), urgent, random.Random(0)).node == "n2"
    assert not decide(table, profile_of(plugins), urgent, random.Random(0)).node

"""What is kept of rows that nothing has touched is what would be reckoned anew."""

from __future__ import annotations

import random

import numpy as np
import pytest

from services.scheduler import node_table
from services.scheduler.catalog import PLUGINS
from services.scheduler.judgements import Judgements
from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Nodes, Rows
from services.scheduler.nominations import Nominations
from services.scheduler.placed_cache import FEW, PlacedCache
from services.scheduler.plugin import Plugin, Scores
from services.scheduler.plugins.balancedallocation.plugin import BalancedAllocation
from services.scheduler.plugins.resources.arguments import (
    LEAST,
    MOST,
    RATIO,
    NodeResourcesFitArgs,
    RequestedToCapacityRatio,
    ScoringStrategy,
    UtilizationShapePoint,
)
from services.scheduler.plugins.resources.plugin import Resources
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import Answer, Preemption, Search
from services.scheduler.scored_resources import CPU_AND_MEMORY, NodeResourcesBalancedAllocationArgs, ResourceSpec
from services.scheduler.view import View
from tests.scheduler.clusters import table_of
from tests.scheduler.objects import Objects, node, pod


def left(facts: PodFacts, nodes: Nodes, rows: Rows) -> Scores:
    return nodes.allocatable["cpu"][rows] - nodes.requested["cpu"][rows] - facts.requests["cpu"]


@pytest.mark.parametrize("seed", range(10))
def test_it_is_what_would_be_reckoned_anew(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over nodes and pods that come and go, seldom asked and often, in a table and in views of it."""
    chance, table, cache = random.Random(seed), NodeTable(), PlacedCache(left)
    monkeypatch.setattr(node_table, "REMEMBERED_TOUCHES", chance.choice([4, 40]))
    asked = [PodFacts.of(pod(f"asked-{cpu}", cpu)) for cpu in ("100m", "2")]

    def change(nodes: Nodes) -> None:
        name, number = f"n{chance.randrange(30)}", chance.randrange(20)
        match chance.randrange(4):
            case 0:
                nodes.put_node(node(name, chance.choice(["1", "4"])))
            case 1:
                nodes.remove_node(name)
            case 2:
                nodes.put_pod(PodFacts.of(pod(f"p{number}", chance.choice(["100m", "500m"]))), name)
            case 3:
                nodes.remove_pod(f"uid-default-p{number}")

    for _ in range(300):
        for _ in range(chance.randrange(4)):
            change(table)
        nodes: Nodes = table
        if chance.randrange(3) == 0:
            nodes = View(table)
            for _ in range(chance.randrange(4)):
                change(nodes)
        facts = chance.choice(asked)
        alive = np.flatnonzero(nodes.alive[: nodes.size])
        found = cache.get(facts, nodes, facts.asked_key)
        assert found[alive].tolist() == left(facts, nodes, alive).tolist()
        assert len(found) == nodes.size


STRATEGIES = (
    ScoringStrategy(LEAST),
    ScoringStrategy(MOST, (ResourceSpec("cpu", 3), ResourceSpec("memory"), ResourceSpec("example.com/gpu", 2))),
    ScoringStrategy(RATIO, CPU_AND_MEMORY, RequestedToCapacityRatio((UtilizationShapePoint(0, 0), UtilizationShapePoint(70, 9)))),
)


def told(plugins: list[Plugin], facts: PodFacts, table: NodeTable) -> list[list[int]]:
    """What scores and filters say of all rows."""
    rows = np.arange(table.size)
    answers = [answer for plugin in plugins for answer in (plugin.score(facts, table, rows), plugin.filter(facts, table))]
    return [answer.tolist() for answer in answers if answer is not None]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.type)
@pytest.mark.parametrize("seed", range(5))
def test_a_single_row_is_scored_as_all_are(seed: int, strategy: ScoringStrategy) -> None:
    """On nodes that offer nothing of a resource, too, and on ones that have given more than they offer."""
    chance, table, cluster = random.Random(seed), NodeTable(), Objects()
    three = NodeResourcesBalancedAllocationArgs((ResourceSpec("cpu"), ResourceSpec("memory"), ResourceSpec("ephemeral-storage")))

    def made_anew() -> list[Plugin]:
        resources = Resources(cluster, NodeResourcesFitArgs(scoring_strategy=strategy))
        return [resources, BalancedAllocation(cluster), BalancedAllocation(cluster, three)]

    plugins = made_anew()
    for number in range(60):
        made = node(f"n{number}", chance.choice(["0", "1", "3300m", "64"]), memory=chance.choice(["0", "1000003", "8Gi"]))
        if chance.randrange(2):
            made.status.allocatable["example.com/gpu"].string = str(chance.randrange(4))
        table.put_node(made)
    waiting = pod("waiting", "700m", "123456789")
    waiting.spec.containers[0].resources.requests["example.com/gpu"].string = "1"
    for facts in (PodFacts.of(waiting), PodFacts.of(pod("plain", "100m", "1Gi"))):
        for _ in range(3):
            kept, anew = (told(some, facts, table) for some in (plugins, made_anew()))
            assert kept == anew
            for _ in range(chance.randrange(FEW)):
                more = pod(f"p{chance.randrange(200)}", chance.choice(["333m", "2"]), chance.choice(["77Mi", "3Gi"]))
                table.put_pod(PodFacts.of(more), f"n{chance.randrange(60)}")


def test_only_what_was_touched_is_reckoned_anew() -> None:
    table, reckoned = NodeTable(), list[int]()
    for number in range(20):
        table.put_node(node(f"n{number}"))

    def counting(facts: PodFacts, nodes: Nodes, rows: Rows) -> Scores:
        reckoned.append(len(rows))
        return left(facts, nodes, rows)

    cache, facts = PlacedCache(counting), PodFacts.of(pod("asked", "1"))
    for number in range(3):
        cache.get(facts, table, facts.asked_key)
        table.put_pod(PodFacts.of(pod(f"p{number}")), f"n{number}")
    assert reckoned == [20, 1, 1]


@pytest.mark.parametrize("seed", range(10))
def test_who_is_to_go_is_the_same_with_what_was_known_before(seed: int) -> None:
    """As pods go, come and are promised nodes between searches for alike ones."""
    chance, table, known, nominations = random.Random(seed), table_of([], []), Judgements[Preemption | str](), Nominations()
    filters = [kind(Objects()) for kind in PLUGINS]
    for number in range(12):
        table.put_node(node(f"n{number}", "4", pods="9"))
        for place in range(chance.randrange(5)):
            table.put_pod(low(f"p{number}-{place}", chance), f"n{number}")
    for step in range(40):
        important = pod(f"important-{step}", chance.choice(["1", "3"]))
        important.spec.priority = chance.choice([50, 1000])
        facts = PodFacts.of(important)

        def search(judgements: Judgements[Preemption | str] | None, facts: PodFacts = facts, step: int = step) -> Answer:
            made = Search(table, filters, facts, (), nominations.before(facts), known=judgements)
            return made.run(random.Random(step))

        with_known, without = search(known), search(None)
        assert (with_known.candidates, with_known.reasons) == (without.candidates, without.reasons)
        if without.preemption is not None and chance.randrange(2):
            nominations.put(facts, without.preemption.node)
        if without.preemption is not None and chance.randrange(2):
            table.remove_pod(without.preemption.victims[0].uid)
        if chance.randrange(2):
            table.put_pod(low(f"more-{step}", chance), f"n{chance.randrange(12)}")


def low(name: str, chance: random.Random) -> PodFacts:
    found = pod(name, chance.choice(["500m", "1", "2"]))
    found.spec.priority = chance.randrange(100)
    found.status.start_time.seconds = chance.randrange(1000)
    return PodFacts.of(found)


def test_who_was_promised_is_seen_until_the_table_changes() -> None:
    table, nominations = NodeTable(), Nominations()
    for number in range(3):
        table.put_node(node(f"n{number}"))
    first, second, third = (PodFacts.of(pod(name)) for name in ("first", "second", "third"))
    assert nominations.seen_by(third, table) is table
    nominations.put(first, "n0")
    seen = nominations.seen_by(third, table)
    assert seen.node_of(first.uid) == "n0"
    nominations.put(second, "n1")
    assert nominations.seen_by(third, table) is seen and seen.node_of(second.uid) == "n1"
    # Nobody sees himself, nor where one was promised to be before.
    assert nominations.seen_by(first, table).node_of(first.uid) == ""
    nominations.put(second, "n2")
    moved = nominations.seen_by(third, table)
    assert (moved.node_of(first.uid), moved.node_of(second.uid)) == ("n0", "n2")
    table.put_pod(PodFacts.of(pod("other")), "n1")
    assert nominations.seen_by(third, table).node_of("uid-default-other") == "n1"

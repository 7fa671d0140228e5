"""The rules on other pods give the answers of a plain reading of their documentation, on random clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings

from services.scheduler.plugins.interpodaffinity.plugin import NOT_AWAY, NOT_NEAR, UNWANTED, InterPodAffinity
from services.scheduler.plugins.podtopologyspread.plugin import UNEVEN, UNLABELLED, PodTopologySpread
from tests.scheduler import oracle
from tests.scheduler.clusters import crowds, namespaces, table_of, web_service
from tests.scheduler.objects import Objects

WORDS = {"near": NOT_NEAR, "away": NOT_AWAY, "unwanted": UNWANTED, "uneven": UNEVEN, "unlabelled": UNLABELLED}


def world_of(found: Any, placed: Any) -> oracle.World:
    names = {one.metadata.name: dict(one.metadata.labels) for one in namespaces()}
    return oracle.World({one.metadata.name: one for one in found}, [(facts.pod, at) for facts, at in placed], names, [web_service()])


def refusals(plugin: Any, facts: Any, table: Any) -> dict[str, str]:
    """By node, in which words the plugin refuses it; empty where it does not."""
    mask = plugin.filter(facts, table)
    return {name: "" if mask is None or mask[row] else plugin.reasons(facts, table, row)[0] for name, row in sorted(table.rows.items())}


@given(crowds())
@settings(max_examples=200, deadline=None)
def test_filters_refuse_what_the_oracle_does(cluster: Any) -> None:
    found, placed, waiting = cluster
    world, table = world_of(found, placed), table_of(found, placed)
    cases = ((InterPodAffinity, oracle.affinity_refuses), (PodTopologySpread, oracle.spread_refuses))
    for kind, refuses in cases:
        plugin = kind(Objects(web_service(), *namespaces()))
        for facts in waiting:
            expected = {name: WORDS.get(refuses(world, facts.pod, name), "") for name in sorted(world.nodes)}
            assert refusals(plugin, facts, table) == expected, kind.name


@given(crowds())
@settings(max_examples=200, deadline=None)
def test_scores_are_the_oracles(cluster: Any) -> None:
    found, placed, waiting = cluster
    world, table = world_of(found, placed), table_of(found, placed)
    names = sorted(table.rows)
    rows = np.array([table.rows[name] for name in names], np.intp)
    if not names:
        return
    objects = Objects(web_service(), *namespaces())
    for facts in waiting:
        scores = InterPodAffinity(objects).score(facts, table, rows)
        expected = oracle.evenly({name: oracle.affinity_sum(world, facts.pod, name) for name in names})
        assert dict(zip(names, scores.tolist() if scores is not None else [0] * len(names), strict=True)) == expected
        if facts.pod.spec.topology_spread_constraints:
            scores = PodTopologySpread(objects).score(facts, table, rows)
            assert (None if scores is None else dict(zip(names, scores.tolist(), strict=True))) == oracle.spread_scores(
                world, facts.pod, names
            )

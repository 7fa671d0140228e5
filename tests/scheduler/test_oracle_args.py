"""Plugins with arguments give the answers of a plain reading of their documentation, on random nodes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import pod_requests
from services.scheduler.plugins.balancedallocation.plugin import BalancedAllocation
from services.scheduler.plugins.interpodaffinity.arguments import InterPodAffinityArgs
from services.scheduler.plugins.interpodaffinity.plugin import InterPodAffinity
from services.scheduler.plugins.node_affinity.arguments import NodeAffinityArgs
from services.scheduler.plugins.node_affinity.plugin import NOT_ENFORCED, NOT_MATCHED, NodeAffinity
from services.scheduler.plugins.podtopologyspread.arguments import LIST, PodTopologySpreadArgs
from services.scheduler.plugins.podtopologyspread.plugin import PodTopologySpread
from services.scheduler.plugins.resources import arguments as fit
from services.scheduler.plugins.resources.plugin import Resources
from services.scheduler.pod_facts import PodFacts
from services.scheduler.scored_resources import NodeResourcesBalancedAllocationArgs, ResourceSpec
from tests.scheduler import oracle
from tests.scheduler.clusters import crowds, namespaces, table_of, web_service
from tests.scheduler.objects import Objects, node, pod
from tests.scheduler.test_oracle import refusals, world_of

GPU, STORAGE = "example.com/gpu", "ephemeral-storage"
RESOURCES = ("cpu", "memory", STORAGE, GPU, "pods")
SHAPES = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 10)), min_size=1, max_size=4, unique_by=lambda point: point[0]).map(sorted)
SPECS = st.lists(st.tuples(st.sampled_from(RESOURCES), st.integers(1, 5)), max_size=4, unique_by=lambda spec: spec[0])


DEFAULTS = st.lists(
    st.tuples(st.sampled_from(["zone", "disk"]), st.integers(1, 2), st.booleans()), max_size=2, unique_by=lambda one: one[0]
)


def sized(name: str, amounts: dict[str, str]) -> core.Pod:
    found = pod(name)
    for resource, amount in amounts.items():
        found.spec.containers[0].resources.requests[resource].string = amount
    return found


AMOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from(["100m", "700m", "3"]),
        "memory": st.sampled_from(["1Gi", "333Mi", "5Gi"]),
        STORAGE: st.sampled_from(["1Gi", "2Gi"]),
        GPU: st.sampled_from(["1", "2"]),
    },
)


@st.composite
def loaded(draw: Any) -> Any:
    """Nodes with whatever they offer, pods on them, and one that waits."""
    made = []
    for number in range(3):
        found = node(f"n{number}", draw(st.sampled_from(["0", "1", "3"])), draw(st.sampled_from(["0", "2Gi", "7Gi"])))
        for resource, amount in ((STORAGE, "5Gi"), (GPU, "3")):
            if draw(st.booleans()):
                found.status.allocatable[resource].string = amount
        made.append(found)
    placed = [(PodFacts.of(sized(f"p{number}", draw(AMOUNTS))), f"n{number % 3}") for number in range(draw(st.integers(0, 6)))]
    return made, placed, PodFacts.of(sized("x", draw(AMOUNTS)))


def taken_and_offered(found: Any, placed: Any, wanted: PodFacts, resource: str, assumed: bool) -> tuple[int, int] | None:
    """What would be taken of a node's resource with the pod, and what it offers; None for what is not compared."""
    offered = found.status.allocatable[resource].string if resource in found.status.allocatable else "0"
    whole = {"cpu": 1000}.get(resource, 1) * int(offered.removesuffix("Gi")) * (2**30 if offered.endswith("Gi") else 1)
    if not whole or resource == "pods" or (resource == GPU and GPU not in pod_requests(wanted.pod)):
        return None
    given = {"cpu": 100, "memory": 200 * 1024 * 1024} if assumed else {}
    pods = [facts.pod for facts, at in placed if at == found.metadata.name] + [wanted.pod]
    return sum(pod_requests(one).get(resource, given.get(resource, 0)) for one in pods), whole


@given(loaded(), st.sampled_from([fit.LEAST, fit.MOST, fit.RATIO]), SPECS, SHAPES)
@settings(max_examples=300, deadline=None)
def test_nodes_are_filled_or_spared_as_a_profile_says(cluster: Any, strategy: str, specs: Any, shape: Any) -> None:
    made, placed, wanted = cluster
    points = tuple(fit.UtilizationShapePoint(*point) for point in shape)
    ratio = fit.RequestedToCapacityRatio(points) if strategy == fit.RATIO else None
    resources = tuple(ResourceSpec(*spec) for spec in specs)
    plugin = Resources(Objects(), fit.NodeResourcesFitArgs(scoring_strategy=fit.ScoringStrategy(strategy, resources, ratio)))
    table = table_of(made, placed)
    rows = np.array([table.rows[one.metadata.name] for one in made], np.intp)
    found = plugin.score(wanted, table, rows)
    expected = []
    for one in made:
        scores = []
        for resource, weight in specs or [("cpu", 1), ("memory", 1)]:
            amounts = taken_and_offered(one, placed, wanted, resource, assumed=True)
            if amounts is not None:
                by = {fit.LEAST: oracle.least_allocated, fit.MOST: oracle.most_allocated}.get(strategy)
                scores.append((by(*amounts) if by is not None else oracle.on_shape(shape, *amounts), weight))
        expected.append(oracle.weighed_ratio(scores) if strategy == fit.RATIO else oracle.weighed(scores))
    assert (found.tolist() if found is not None else [0] * 3) == expected


@given(loaded(), SPECS)
@settings(max_examples=200, deadline=None)
def test_balance_is_of_the_resources_that_a_profile_names(cluster: Any, specs: Any) -> None:
    made, placed, wanted = cluster
    names = [name for name, _ in specs] or ["cpu", "memory"]
    plugin = BalancedAllocation(Objects(), NodeResourcesBalancedAllocationArgs(tuple(ResourceSpec(name) for name in names)))
    table = table_of(made, placed)
    rows = np.array([table.rows[one.metadata.name] for one in made], np.intp)
    found = plugin.score(wanted, table, rows)
    if not any(pod_requests(wanted.pod).get(name) for name in names):
        assert found is None
        return
    # Where no node offers any of them nothing changes anywhere.
    for one, score in zip(made, found.tolist() if found is not None else [75] * 3, strict=True):
        after, before = list[float](), list[float]()
        for name in names:
            pair = taken_and_offered(one, placed, wanted, name, assumed=False)
            if pair is not None:
                taken, offered = pair
                after.append(min(taken / offered, 1))
                before.append(min((taken - pod_requests(wanted.pod).get(name, 0)) / offered, 1))
        # Two whole numbers are cut off, and half of their difference once more.
        assert abs(oracle.balance(after, before) - 0.5 - score) <= 1 + 1e-6


def test_resources_that_a_profile_ignores_are_not_looked_at() -> None:
    table = table_of([node("n1")], [])
    wanted = PodFacts.of(sized("x", {GPU: "1", "other.com/disk": "1"}))
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [f"Insufficient {GPU}", "Insufficient other.com/disk"]),
        ({"ignored_resources": (GPU,)}, ["Insufficient other.com/disk"]),
        ({"ignored_resource_groups": ("other.com",)}, [f"Insufficient {GPU}"]),
    ]
    for given_args, words in cases:
        plugin = Resources(Objects(), fit.NodeResourcesFitArgs(**given_args))
        assert sorted(plugin.reasons(wanted, table, 0)) == sorted(words) and not plugin.accepts(wanted, table, 0)
    both = fit.NodeResourcesFitArgs((GPU,), ("other.com",))
    assert Resources(Objects(), both).accepts(wanted, table, 0) and Resources(Objects(), both).filter(wanted, table).all()  # type: ignore[union-attr]


@given(crowds(), st.integers(0, 100), st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_placed_pods_ask_counts_as_a_profile_says(cluster: Any, weight: int, ignore: bool) -> None:
    found, placed, waiting = cluster
    world, table = world_of(found, placed), table_of(found, placed)
    names = sorted(table.rows)
    rows = np.array([table.rows[name] for name in names], np.intp)
    plugin = InterPodAffinity(Objects(*namespaces()), InterPodAffinityArgs(weight, ignore))
    for facts in waiting:
        scores = plugin.score(facts, table, rows)
        sums = {name: oracle.affinity_sum(world, facts.pod, name, weight) for name in names}
        if ignore and not oracle.preferred(facts.pod):
            sums = dict.fromkeys(names, 0)
        assert (scores.tolist() if scores is not None else [0] * len(names)) == list(oracle.evenly(sums).values())


@given(
    crowds(),
    st.lists(st.tuples(st.sampled_from(["zone", "disk"]), st.integers(1, 2), st.booleans()), max_size=2, unique_by=lambda one: one[0]),
)
@settings(max_examples=150, deadline=None)
def test_pods_without_constraints_have_those_of_the_profile(cluster: Any, defaults: Any) -> None:
    found, placed, waiting = cluster
    constraints = []
    for key, skew, forbids in defaults:
        constraints.append(core.TopologySpreadConstraint(topology_key=key, max_skew=skew))
        constraints[-1].when_unsatisfiable = "DoNotSchedule" if forbids else "ScheduleAnyway"
    plugin = PodTopologySpread(Objects(web_service()), PodTopologySpreadArgs(tuple(constraints), LIST))
    world, table = world_of(found, placed), table_of(found, placed)
    names = sorted(table.rows)
    rows = np.array([table.rows[name] for name in names], np.intp)
    for facts in waiting:
        told, asking = facts.pod, copy.deepcopy(facts.pod)
        served = told.metadata.namespace == "default" and told.metadata.labels.get("app") == "web"
        if not told.spec.topology_spread_constraints and served:
            for one in constraints:
                asking.spec.topology_spread_constraints.add().CopyFrom(one)
                asking.spec.topology_spread_constraints[-1].label_selector.match_labels["app"] = "web"
        expected = {name: oracle.spread_refuses(world, asking, name) != "" for name in names}
        assert {name: words != "" for name, words in refusals(plugin, facts, table).items()} == expected
        scores = plugin.score(facts, table, rows)
        assert (None if scores is None else dict(zip(names, scores.tolist(), strict=True))) == oracle.spread_scores(world, asking, names)


def test_a_profile_may_ask_for_nodes_besides_what_pods_ask() -> None:
    added = core.NodeAffinity()
    terms = added.required_during_scheduling_ignored_during_execution.node_selector_terms
    terms.add().match_expressions.add(key="pool", operator="In", values=["batch"])
    liked = added.preferred_during_scheduling_ignored_during_execution.add(weight=10)
    liked.preference.match_expressions.add(key="disk", operator="Exists")
    plugin = NodeAffinity(Objects(), NodeAffinityArgs(added))
    labels = [{"pool": "batch"}, {"pool": "batch", "disk": "ssd"}, {"disk": "ssd", "zone": "a"}]
    table = table_of([node(f"n{number}", labels=found) for number, found in enumerate(labels)], [])
    plain, picky = PodFacts.of(pod("a")), pod("b")
    picky.spec.node_selector["zone"] = "a"
    assert refusals(plugin, plain, table) == {"n0": "", "n1": "", "n2": NOT_ENFORCED}
    assert refusals(plugin, PodFacts.of(picky), table) == {"n0": NOT_MATCHED, "n1": NOT_MATCHED, "n2": NOT_ENFORCED}
    assert plugin.score(plain, table, np.array([0, 1], np.intp)).tolist() == [0, 100]  # type: ignore[union-attr]

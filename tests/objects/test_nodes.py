"""Which nodes a pod may run on: tolerations, node selection, host ports."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.host_ports import HostPort, host_ports
from knarr.objects.node_selection import matches_pod, matches_selector, matches_term, node_named_by, only_on
from knarr.objects.tolerations import NO_EXECUTE, NO_SCHEDULE, PREFER_NO_SCHEDULE, tolerates, untolerated

TAINT = core.Taint(key="disk", value="slow", effect=NO_SCHEDULE)


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (core.Toleration(key="disk", operator="Equal", value="slow", effect=NO_SCHEDULE), True),
        (core.Toleration(key="disk", value="slow"), True),
        (core.Toleration(key="disk", value="fast"), False),
        (core.Toleration(key="disk", operator="Exists"), True),
        (core.Toleration(operator="Exists"), True),
        (core.Toleration(operator="Exists", effect=NO_EXECUTE), False),
        (core.Toleration(key="disc", operator="Exists"), False),
        # Without a key only Exists means every taint.
        (core.Toleration(operator="Equal", value="slow"), False),
        (core.Toleration(key="disk", operator="Lt", value="slow"), False),
    ],
)
def test_tolerations(toleration: core.Toleration, expected: bool) -> None:
    assert tolerates(toleration, TAINT) is expected
    assert untolerated([toleration], [TAINT], [NO_SCHEDULE]) == ([] if expected else [TAINT])


def test_only_the_effects_that_are_asked_for_count() -> None:
    assert untolerated([], [TAINT], [NO_EXECUTE, PREFER_NO_SCHEDULE]) == []
    assert untolerated([], [TAINT], [NO_SCHEDULE, NO_EXECUTE]) == [TAINT]


def node(**labels: str) -> core.Node:
    made = core.Node()
    made.metadata.name = "n1"
    made.metadata.labels.update(labels)
    return made


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["4", "8"], True),
        ("In", ["4"], False),
        ("NotIn", ["4"], True),
        ("NotIn", ["8"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
        ("Gt", ["7"], True),
        ("Gt", ["8"], False),
        ("Lt", ["9"], True),
        ("Lt", ["many"], False),
        ("Gt", [], False),
        ("Like", ["8"], False),
    ],
)
def test_requirements(operator: str, values: list[str], expected: bool) -> None:
    requirement = core.NodeSelectorRequirement(key="cores", operator=operator, values=values)
    assert matches_term(core.NodeSelectorTerm(match_expressions=[requirement]), node(cores="8")) is expected


@pytest.mark.parametrize(
    ("operator", "expected"), [("In", False), ("NotIn", True), ("Exists", False), ("DoesNotExist", True), ("Gt", False)]
)
def test_requirements_on_a_label_that_is_not_there(operator: str, expected: bool) -> None:
    requirement = core.NodeSelectorRequirement(key="cores", operator=operator, values=["8"])
    assert matches_term(core.NodeSelectorTerm(match_expressions=[requirement]), node()) is expected


def test_any_term_of_a_selector_and_all_of_a_term() -> None:
    here = core.NodeSelectorTerm(match_fields=[core.NodeSelectorRequirement(key="metadata.name", operator="In", values=["n1"])])
    there = core.NodeSelectorTerm(match_fields=[core.NodeSelectorRequirement(key="metadata.name", operator="In", values=["n2"])])
    assert matches_selector(core.NodeSelector(node_selector_terms=[there, here]), node())
    assert not matches_selector(core.NodeSelector(node_selector_terms=[there]), node())
    assert not matches_selector(core.NodeSelector(), node())
    assert not matches_term(core.NodeSelectorTerm(), node())
    both = core.NodeSelectorTerm(match_fields=here.match_fields)
    both.match_expressions.add(key="zone", operator="Exists")
    assert not matches_term(both, node())
    assert matches_term(both, node(zone="a"))


def test_a_pods_selector_and_required_affinity_both_count() -> None:
    spec = core.PodSpec(node_selector={"zone": "a"})
    assert matches_pod(spec, node(zone="a"))
    assert not matches_pod(spec, node(zone="b"))
    required = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    required.node_selector_terms.add().match_expressions.add(key="disk", operator="Exists")
    assert not matches_pod(spec, node(zone="a"))
    assert matches_pod(spec, node(zone="a", disk="fast"))


def test_the_one_node_that_a_pod_may_go_to() -> None:
    here, there = node(), node()
    here.metadata.name, there.metadata.name = "here", "there"
    pod = core.PodSpec()
    assert node_named_by(pod) == ""
    required = pod.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    required.CopyFrom(only_on("here"))
    assert (node_named_by(pod), matches_pod(pod, here), matches_pod(pod, there)) == ("here", True, False)
    required.node_selector_terms[0].match_fields[0].values.append("there")
    assert node_named_by(pod) == ""


def test_host_ports_of_what_runs_on() -> None:
    spec = core.PodSpec()
    spec.containers.add().ports.add(container_port=80, host_port=8080)
    spec.containers[0].ports.add(container_port=81)
    spec.init_containers.add().ports.add(host_port=1)
    spec.init_containers.add(restart_policy="Always").ports.add(host_port=53, protocol="UDP", host_ip="10.0.0.1")
    assert host_ports(spec) == [HostPort("0.0.0.0", "TCP", 8080), HostPort("10.0.0.1", "UDP", 53)]


@pytest.mark.parametrize(
    ("other", "clashes"),
    [
        (HostPort("10.0.0.1", "TCP", 80), True),
        (HostPort("0.0.0.0", "TCP", 80), True),
        (HostPort("10.0.0.2", "TCP", 80), False),
        (HostPort("10.0.0.1", "UDP", 80), False),
        (HostPort("10.0.0.1", "TCP", 81), False),
    ],
)
def test_clashes_of_host_ports(other: HostPort, clashes: bool) -> None:
    mine = HostPort("10.0.0.1", "TCP", 80)
    assert mine.clashes(other) is other.clashes(mine) is clashes

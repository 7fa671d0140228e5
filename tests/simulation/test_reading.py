"""What a Trace says, and that a wrong one is told by its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knarr.service.errors import CommandError
from services.kubelet.runtime.hollow import HollowSettings
from services.simulation.reading import parse_trace, read_trace
from services.simulation.trace import NodeChange, NodeGroup, WorkloadChange

EXAMPLES = Path(__file__).parents[2] / "examples/simulate"
HEAD = "apiVersion: knarr.dev/v1\nkind: Trace\n"
NODE = "group: a, cpu: 4, memory: 8Gi"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Other\n", "it must be one Trace of knarr.dev/v1"),
        (HEAD + "until: 0s\n", "until: Invalid value: '0s': must be from 1s to 8784h"),
        (HEAD + "until: 1h\nsample: 1ms\n", "sample: Invalid value: '1ms': must be from 3.6s"),
        (HEAD + "seed: x\n", "seed: Invalid value: 'x': must be a number from 0"),
        (HEAD + "more: 1\n", "unknown field 'more'"),
        (HEAD + "nodes: {}\n", "nodes: must be a list"),
        (HEAD + "nodes: [{cpu: 4, memory: 8Gi}]\n", "nodes[0].group: Required value"),
        (HEAD + "nodes: [{group: A, cpu: 4, memory: 8Gi}]\n", "nodes[0].group: Invalid value: 'A': must be a DNS label"),
        (HEAD + f"nodes: [{{{NODE}}}, {{{NODE}}}]\n", "nodes[1].group: Duplicate value: 'a'"),
        (HEAD + "nodes: [{group: a, cpu: 1500m, memory: 8Gi}]\n", "nodes[0].cpu: Invalid value: '1500m': a machine has whole"),
        (HEAD + "nodes: [{group: a, cpu: 4, memory: much}]\n", "nodes[0].memory: Invalid value: 'much'"),
        (HEAD + f"nodes: [{{{NODE}, pods: 251}}]\n", "nodes[0].pods: Invalid value: 251: must be a number from 1 to 250"),
        (HEAD + f"nodes: [{{{NODE}, count: 20000, changes: [{{at: 1m, add: 1}}]}}]\n", "nodes: Invalid value: 20001 nodes"),
        (HEAD + f"nodes: [{{{NODE}, taints: [gpu]}}]\n", "nodes[0].taints[0]: Invalid value: 'gpu': must be like"),
        (HEAD + f"nodes: [{{{NODE}, labels: {{zone: 1}}}}]\n", "nodes[0].labels: must be a mapping of words"),
        (HEAD + f"nodes: [{{{NODE}, changes: [{{at: 1m}}]}}]\n", "nodes[0].changes[0]: Required value: one of add, remove, fail"),
        (HEAD + f"nodes: [{{{NODE}, changes: [{{add: 1}}]}}]\n", "nodes[0].changes[0].at: Required value"),
        (
            HEAD + f"nodes: [{{{NODE}, changes: [{{at: 1m, add: 1, for: 5m}}]}}]\n",
            "nodes[0].changes[0].for: Invalid value: only nodes that fail",
        ),
        (HEAD + "workloads: [{replicas: 1}]\n", "workloads[0]: Required value: one of name (in a few words), manifest, file"),
        (HEAD + "workloads: [{name: a, file: b}]\n", "workloads[0]: Invalid value: one of name"),
        (HEAD + "workloads: [{name: a, replica: 1}]\n", "workloads[0]: unknown field 'replica'"),
        (HEAD + "workloads: [{name: a, requests: {cpu: x}}]\n", "workloads[0].requests.cpu: Invalid value: 'x'"),
        (HEAD + "workloads: [{name: a, requests: {cpu: -1}}]\n", "workloads[0].requests.cpu: Invalid value: -1: must be 0 or more"),
        (HEAD + "workloads: [{name: a, tolerations: [{keys: b}]}]\n", "workloads[0].tolerations[0]: "),
        (HEAD + "workloads: [{name: a, arrivals: {every: 1s}}]\n", "workloads[0].arrivals.count: Required value"),
        (HEAD + "workloads: [{name: a, arrivals: {every: 1s, count: 1, random: 1}}]\n", "workloads[0].arrivals.random: Invalid value: 1"),
        (HEAD + "workloads: [{name: a, changes: [{at: 1s}]}]\n", "workloads[0].changes[0]: Required value: either replicas or delete"),
        (HEAD + "workloads: [{name: a, changes: [{at: 1s, delete: false}]}]\n", "workloads[0].changes[0].delete: Invalid value: False"),
        (
            HEAD + "workloads: [{name: a, duration: 1m, changes: [{at: 1s, replicas: 2}]}]\n",
            "workloads[0].changes: Invalid value: what has",
        ),
        (
            HEAD + "workloads: [{name: a, arrivals: {every: 1s, count: 2}, changes: [{at: 1s, replicas: 2}]}]\n",
            "workloads[0].changes: Invalid value: what arrives several times has none",
        ),
        (
            HEAD + "workloads: [{manifest: {apiVersion: v1, kind: Pot}}]\n",
            "workloads[0].manifest: no matches for kind 'Pot' in version 'v1'",
        ),
        (HEAD + "workloads: [{manifest: {apiVersion: v1, kind: Pod, specs: {}}}]\n", 'workloads[0].manifest: Pod in version "v1"'),
        (HEAD + "workloads: [{file: nowhere.yaml}]\n", "workloads[0].file: Invalid value: 'nowhere.yaml': No such file"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.yaml"
    file.write_text(text)
    with pytest.raises(CommandError) as raised:
        read_trace(file)
    assert str(file) in str(raised.value) and told in str(raised.value)


def test_the_example_says_what_its_comments_say() -> None:
    found = read_trace(EXAMPLES / "day.yaml")
    general, reports = found.nodes[0], [one for one in found.workloads if one.path == "workloads[1]"]
    changes = (NodeChange(1200, "fail", 1, 900), NodeChange(2700, "remove", 1))
    delays = HollowSettings(start_seconds=2, pull_seconds=10)
    assert general == NodeGroup("general", 4, 8, 32 << 30, runtime=delays, changes=changes)
    assert (found.until, found.sample, found.seed) == (3600, 300, 7)
    assert found.workloads[0].changes == (WorkloadChange(600, 24), WorkloadChange(2400, 12))
    assert len(reports) == 8 and reports[0].at == 300
    assert [one.at for one in reports] == sorted({one.at for one in reports})
    made: Any = reports[3].objects[0]
    assert made.metadata.name == "report-4" and made.spec.parallelism == 6
    assert list(made.spec.template.spec.containers[0].command) == ["sleep", "480"]


def test_a_seed_that_is_given_goes_before_the_files() -> None:
    text = (HEAD + "seed: 1\nworkloads: [{name: a, arrivals: {every: 1m, count: 5, random: true}}]\n").encode()
    own, given = parse_trace(text, EXAMPLES), parse_trace(text, EXAMPLES, 2)
    assert [one.at for one in own.workloads] != [one.at for one in given.workloads] and given.seed == 2
    assert own == parse_trace(text, EXAMPLES)

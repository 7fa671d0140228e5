"""Traces are played by the real scheduler and controllers, give the same report each time, and tell what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.service.errors import CommandError
from services.command.simulate import lines
from services.simulation.reading import parse_trace, read_trace
from services.simulation.report import Report
from services.simulation.simulation import simulate
from tests.support import golden

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
HEAD = "apiVersion: knarr.dev/v1\nkind: Trace\n"


def played(text: str) -> Report:
    return simulate(parse_trace((HEAD + text).encode(), HERE))


@pytest.mark.parametrize("trace", ["growth", "failures", "priorities"])
def test_what_happens_is_what_was_written_down(trace: str) -> None:
    report = simulate(read_trace(HERE / f"golden/{trace}.yaml"))
    golden.check(HERE / f"golden/{trace}.txt", "\n".join(lines(report)) + "\n")


def test_the_same_seed_gives_the_same_report_in_any_process() -> None:
    """The order of sets of words differs from process to process: nothing may depend on it."""
    trace = HERE / "golden/priorities.yaml"
    told = []
    for hashes in ("1", "2"):
        command = [sys.executable, "-m", "services.command", "simulate", "-o", "json", str(trace)]
        environment = os.environ | {"PYTHONHASHSEED": hashes, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
        # Two pods wait in the end.
        assert ended.returncode == 1
        told.append(ended.stdout)
    assert told[0] == told[1]
    here = simulate(read_trace(trace))
    assert json.loads(told[0]) == json.loads(json.dumps(here.as_json()))
    assert simulate(read_trace(trace, seed=8)).ready != here.ready


def test_what_waits_is_told_with_what_would_help() -> None:
    report = played(
        "until: 1m\nnodes: [{group: a, count: 2, cpu: 4, memory: 8Gi}]\n"
        "workloads: [{name: big, replicas: 7, requests: {cpu: 1500m}}, {name: none, requests: {cpu: '5'}}]"
    )
    assert report.remainder.pods == 4
    # Two of three more fit on one new node, and one that asks for more than such a node has on none.
    assert report.remainder.nodes == {"a": None}
    big, none = report.waits
    assert (big.workload, big.most) == ("big", 3) and big.words.startswith("0/2 nodes are available: 2 Insufficient cpu.")
    assert big.remedies == ["2 nodes would fit with 500m less cpu"]
    assert (none.workload, none.most) == ("none", 1)


def test_pods_that_cannot_be_made_are_told_of() -> None:
    report = played(
        "until: 1m\nnodes: [{group: a, count: 1, cpu: 4, memory: 8Gi}]\n"
        "workloads: [{name: lost, replicas: 2, priorityClassName: nobody}, {name: fine, requests: {cpu: '1'}}]"
    )
    (one,) = report.not_made
    assert one.owner.startswith("ReplicaSet lost-") and one.words.endswith("no PriorityClass with name nobody was found")
    assert f"  {one.owner}: {one.words}" in lines(report)


def test_so_many_more_nodes_would_do() -> None:
    report = played(
        "until: 1m\nnodes: [{group: a, count: 2, cpu: 4, memory: 8Gi}, {group: b, count: 1, cpu: 1, memory: 8Gi}]\n"
        "workloads: [{name: big, replicas: 7, requests: {cpu: 1500m}}]"
    )
    assert report.remainder.pods == report.remainder.judged == 3
    assert report.remainder.nodes == {"a": 2, "b": None}


def test_what_the_server_refuses_is_told_by_its_place() -> None:
    with pytest.raises(CommandError, match=r"workloads\[1\]: .*web.* already exists"):
        played("nodes: [{group: a, cpu: 4, memory: 8Gi}]\nworkloads: [{name: web}, {name: web, at: 10s}]")
    with pytest.raises(CommandError, match=r"workloads\[0\]: .*no PriorityClass with name much was found"):
        played("nodes: [{group: a, cpu: 4, memory: 8Gi}]\nworkloads: [{manifest: " + POD_OF_NO_CLASS + "}]")


POD_OF_NO_CLASS = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {priorityClassName: much, containers: [{name: c, image: app}]}}"


def test_manifests_and_files_are_played_and_deleted() -> None:
    report = played(
        "until: 4m\nsample: 1m\nnodes: [{group: a, cpu: 4, memory: 8Gi}]\n"
        "workloads: [{file: golden/objects.yaml, changes: [{at: 70s, replicas: 3}, {at: 130s, delete: true}]}]"
    )
    assert [sample.running for sample in report.samples] == [2, 2, 3, 0, 0]
    assert [one.workload for one in report.ready] == ["web"]

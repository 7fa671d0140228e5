"""What was seen of a cluster becomes a trace that can be played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.objects.copies import copy_of
from services.simulation.reading import parse_trace
from services.simulation.recorded import manifest
from services.simulation.recording import Recording
from services.simulation.simulation import simulate
from services.simulation.trace import NodeChange, Trace, WorkloadChange


def node(name: str, ready: str = "True", cpu: str = "3900m", zone: str = "a") -> core.Node:
    found = core.Node()
    found.metadata.name = found.metadata.uid = name
    found.metadata.labels.update({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone})
    for resource, amount in {"cpu": cpu, "memory": "8Gi", "pods": "110"}.items():
        found.status.allocatable[resource].string = amount
    found.spec.taints.add(key="node.kubernetes.io/not-ready", effect="NoSchedule")
    found.spec.taints.add(key="dedicated", value="batch", effect="NoSchedule")
    found.status.conditions.add(type="Ready", status=ready)
    return found


def owned(obj: Any, kind: str, name: str) -> Any:
    obj.metadata.owner_references.add(kind=kind, name=name, uid=name, controller=True, api_version="batch/v1")
    return obj


def deployment(name: str, replicas: int) -> apps.Deployment:
    found = apps.Deployment()
    found.metadata.name, found.metadata.uid, found.metadata.namespace = name, name, "shop"
    found.spec.replicas = replicas
    found.spec.selector.match_labels["app"] = name
    found.spec.template.metadata.labels["app"] = name
    container = found.spec.template.spec.containers.add(name="main", image="app:1", command=["serve", "--password=hush"])
    container.env.add(name="TOKEN", value="hush")
    container.resources.requests["cpu"].string = "500m"
    return found


def job(name: str, completions: int = 1) -> batch.Job:
    found = batch.Job()
    found.metadata.name, found.metadata.uid, found.metadata.namespace = name, name, "shop"
    found.spec.completions = found.spec.parallelism = completions
    found.spec.selector.match_labels["batch.kubernetes.io/controller-uid"] = name
    found.spec.template.metadata.labels.update({"batch.kubernetes.io/controller-uid": name, "tier": "batch"})
    found.spec.template.spec.restart_policy = "Never"
    found.spec.template.spec.containers.add(name="main", image="app:1", command=["train"])
    return found


def pod(name: str, owner: str, phase: str = "Running", seconds: int = 0) -> core.Pod:
    found = core.Pod()
    found.metadata.name = found.metadata.uid = name
    found.metadata.namespace = "shop"
    found.status.phase = phase
    found.spec.containers.add(name="main", image="app:1")
    if owner:
        owned(found, "Job", owner)
    if phase == "Succeeded":
        ended = found.status.container_statuses.add(name="main").state.terminated
        ended.started_at.seconds, ended.finished_at.seconds = 100, 100 + seconds
    return found


def read(recording: Recording, seconds: float = 600.0) -> Trace:
    return parse_trace(yaml.safe_dump(recording.document(seconds), sort_keys=False).encode(), Path())


def test_nodes_that_are_alike_are_a_group_and_what_happens_to_them_is_told_of_it() -> None:
    recording = Recording()
    first, second, other = node("one"), node("two"), node("three", cpu="8", zone="b")
    for found in (first, second, other):
        recording.node(None, None, found)
    recording.node(60.0, first, node("one", "Unknown"))
    recording.node(200.0, node("one", "Unknown"), node("one"))
    recording.node(300.0, None, node("four", "False"))
    recording.node(302.0, node("four", "False"), node("four"))
    recording.node(400.0, second, None)
    recording.node(500.0, other, node("three", "False", cpu="8", zone="b"))
    small, large = read(recording).nodes
    assert (small.count, small.cpus, small.memory_bytes, small.pods) == (2, 3, (8 << 30) + (100 << 20), 110)
    assert (small.labels, small.taints) == ({"topology.kubernetes.io/zone": "a"}, ("dedicated=batch:NoSchedule",))
    # It was off when its heartbeats ended, and came when it was first seen.
    assert small.changes == (
        NodeChange(20.0, "fail", 1, 180.0),
        NodeChange(300.0, "add", 1),
        NodeChange(400.0, "remove", 1),
    )
    assert (large.count, large.changes) == (1, (NodeChange(500.0, "fail", 1),))


def test_workloads_come_are_scaled_and_go() -> None:
    recording = Recording()
    web, more = deployment("web", 2), deployment("web", 5)
    recording.workload(None, None, web)
    recording.workload(10.5, web, more)
    recording.workload(20.0, more, None)
    recording.workload(30.0, None, owned(deployment("of-another", 1), "Rollout", "r"))
    (found,) = read(recording).workloads
    assert (found.at, found.changes) == (0.0, (WorkloadChange(10.5, 5), WorkloadChange(20.0, None)))
    # A change of the status is none; one of the template is more than a trace can say, and is told.
    newer = copy_of(more)
    newer.status.replicas = 5
    recording.workload(40.0, None, (again := deployment("again", 5)))
    recording.workload(41.0, again, newer := copy_of(again))
    assert not recording.left_out
    newer.spec.template.spec.containers[0].image = "app:2"
    recording.workload(42.0, again, newer)
    assert list(recording.left_out.values()) == [1]


def test_jobs_run_as_long_as_their_pods_did() -> None:
    recording = Recording()
    ended, going, begun = job("ended"), job("going", 5), owned(job("begun"), "CronJob", "nightly")
    ended.status.conditions.add(type="Complete", status="True")
    going.status.succeeded = 2
    for found in (ended, going):
        recording.workload(None, None, found)
    recording.workload(30.0, None, begun)
    for name, seconds in (("a", 10), ("b", 20)):
        recording.pod(None, None, pod(name, "going"))
        recording.pod(50.0, pod(name, "going"), pod(name, "going", "Succeeded", seconds))
        recording.pod(51.0, pod(name, "going", "Succeeded", seconds), pod(name, "going", "Succeeded", seconds))
    finished = copy_of(begun)
    finished.status.conditions.add(type="Complete", status="True")
    recording.workload(60.0, begun, finished)
    recording.workload(70.0, finished, None)
    first, second = (one for one in read(recording).workloads)
    lasting: Any = first.objects[0]
    assert (lasting.metadata.name, lasting.spec.completions) == ("going", 3)
    assert list(lasting.spec.template.spec.containers[0].command) == ["sleep", "15.000"]
    nightly: Any = second.objects[0]
    assert (second.at, second.changes, dict(nightly.spec.template.metadata.labels)) == (
        30.0,
        (),
        {"tier": "batch", "knarr.dev/workload": "nightly"},
    )
    assert not nightly.spec.HasField("selector")


def test_a_pod_of_its_own_is_a_workload_and_one_of_the_node_is_none() -> None:
    recording, mirror, over = Recording(), pod("mirror", ""), pod("over", "", "Succeeded", 3)
    mirror.metadata.annotations["kubernetes.io/config.mirror"] = "x"
    for found in (mirror, over):
        recording.pod(None, None, found)
    alone = pod("alone", "")
    alone.spec.node_name = "one"
    alone.spec.volumes.add(name="kube-api-access-x")
    recording.pod(5.0, None, alone)
    recording.pod(9.0, alone, pod("alone", "", "Succeeded", 4))
    recording.pod(9.5, pod("alone", "", "Succeeded", 4), None)
    (workload,) = read(recording).workloads
    shown: Any = workload.objects[0]
    assert (workload.at, workload.changes, shown.spec.node_name, len(shown.spec.volumes)) == (5.0, (), "", 0)
    assert list(shown.spec.containers[0].command) == ["sleep", "4.000"]


def test_what_others_are_judged_by_comes_first() -> None:
    recording, given, own = Recording(), scheduling.PriorityClass(value=1), scheduling.PriorityClass(value=7)
    given.metadata.name = given.metadata.uid = "system-node-critical"
    own.metadata.name = own.metadata.uid = "high"
    budget = policy.PodDisruptionBudget()
    budget.metadata.name = budget.metadata.uid = "all"
    budget.spec.selector.SetInParent()
    for found in (deployment("web", 1), budget, given, own):
        recording.workload(None, None, found)
    shown = [one["manifest"] for one in recording.document(1.0)["workloads"]]
    assert [one["kind"] for one in shown] == ["PriorityClass", "PodDisruptionBudget", "Deployment"]
    # That chooses all pods, and without it the budget would choose none.
    assert shown[1]["spec"]["selector"] == {}


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (["serve", "--password=hush"], None),
        (["sh", "-c", "echo hush; sleep 5; exit 3"], ["sh", "-c", "sleep 5.000; exit 3"]),
        (["sleep", "7"], ["sh", "-c", "sleep 7.000; exit 0"]),
    ],
)
def test_nothing_is_recorded_that_is_nobody_elses_business(command: list[str], kept: list[str] | None) -> None:
    web = deployment("web", 1)
    web.metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"] = "hush"
    spec = web.spec.template.spec
    spec.service_account_name = "robot"
    container = spec.containers[0]
    container.command[:] = command
    container.readiness_probe.handler.exec.command.extend(["ask", "hush"])
    container.liveness_probe.handler.http_get.http_headers.add(name="Authorization", value="hush")
    found = manifest(web)
    assert "hush" not in str(found) and "robot" not in str(found)
    shown = found["spec"]["template"]["spec"]["containers"][0]
    assert (shown.get("command"), shown["resources"]["requests"]) == (kept, {"cpu": "500m"})


def test_what_was_recorded_can_be_played() -> None:
    recording = Recording()
    single = node("one")
    # As the node of `knarr up` has it: no kubelet may give that to its node.
    single.metadata.labels["node-role.kubernetes.io/control-plane"] = ""
    recording.node(None, None, single)
    web, lasting = deployment("web", 2), job("lasting")
    for found in (web, lasting):
        # The nodes are for batch alone.
        found.spec.template.spec.tolerations.add(operator="Exists")
        found.spec.template.spec.node_selector["node-role.kubernetes.io/control-plane"] = ""
    recording.workload(None, None, web)
    recording.workload(1.0, web, (more := copy_of(web)))
    more.spec.replicas = 4
    recording.workload(2.0, web, more)
    recording.workload(3.0, None, lasting)
    recording.pod(3.0, None, pod("a", "lasting"))
    recording.pod(8.0, pod("a", "lasting"), pod("a", "lasting", "Succeeded", 5))
    report = simulate(read(recording, 20.0))
    last = report.samples[-1]
    assert (last.running, last.pending, last.done) == (4, 0, 1)

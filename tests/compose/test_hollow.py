"""Simulated nodes beside the machines of the compose cluster: each is itself, and machines go on as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from knarr.objects.hollow import LABEL, node_name
from tests.support.compose import NETWORK, NODES, ComposeCluster

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

COUNT, REPLICAS = 12, 40
NAMES = {node_name(number) for number in range(1, COUNT + 1)}
FAULTS = """\
apiVersion: knarr.dev/v1
kind: HollowFaults
faults:
  - nodes: 12
    down: true
"""
PAIR = {"certificate": "node.crt", "key": "node.key"}
# A node is given up 40 s after its last heartbeat.
LOST_SECONDS = 100.0


@pytest.fixture(scope="module")
def hollow(cluster: ComposeCluster) -> Iterator[ComposeCluster]:
    cluster.environment["KNARR_HOLLOW_NODES"] = str(COUNT)
    try:
        cluster.compose("--profile", "hollow", "up", "--detach", "--wait", "--wait-timeout", "120")
        yield cluster
    finally:
        cluster.compose("--profile", "hollow", "rm", "--stop", "--force", "hollow")
        cluster.kubectl("delete", "node", "-l", LABEL)


def workload() -> dict[str, Any]:
    container = {"name": "web", "image": "anything:1", "resources": {"requests": {"cpu": "10m"}}}
    tolerations = [{"key": LABEL, "operator": "Exists"}]
    spec = {"containers": [container], "nodeSelector": {LABEL: "true"}, "tolerations": tolerations, "terminationGracePeriodSeconds": 0}
    template = {"metadata": {"labels": {"app": "many"}}, "spec": spec}
    whole = {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": whole}


def test_all_are_ready_beside_the_machines(hollow: ComposeCluster) -> None:
    assert hollow.ready_nodes() == NAMES | NODES.keys()
    found = {node["metadata"]["name"]: node for node in hollow.get("nodes", "-l", LABEL)["items"]}
    assert found.keys() == NAMES
    assert len({node["spec"]["podCIDR"] for node in found.values()}) == COUNT
    for node in found.values():
        assert {"type": "InternalIP", "address": f"{NETWORK}.8"} in node["status"]["addresses"]
        assert [taint["key"] for taint in node["spec"]["taints"]] == [LABEL]


def test_pods_run_on_them_and_answer(hollow: ComposeCluster) -> None:
    hollow.apply(workload())
    try:
        hollow.kubectl("rollout", "status", "deployment/many", "--timeout=90s")
        pods = hollow.pods("app=many")
        assert {pod["spec"]["nodeName"] for pod in pods} == NAMES
        pod = pods[0]
        told = hollow.kubectl("logs", pod["metadata"]["name"]).stdout
        assert told == f"hollow container web of pod default/{pod['metadata']['name']}, attempt 0\n"
    finally:
        hollow.kubectl("delete", "deployment", "many")


def test_a_pod_that_says_nothing_of_them_goes_to_a_machine(hollow: ComposeCluster) -> None:
    placed = json.loads(
        hollow.kubectl("run", "plain", "--image=none:1", "--image-pull-policy=Never", "--restart=Never", "-o", "json").stdout
    )
    try:
        hollow.wait_for("its node", lambda: hollow.get("pod", placed["metadata"]["name"])["spec"].get("nodeName") in NODES)
    finally:
        hollow.kubectl("delete", "pod", "plain", "--now")


def test_each_may_do_what_concerns_itself_alone(hollow: ComposeCluster) -> None:
    """By what one of them is known by, taken out of their container."""
    for ending in ("crt", "key"):
        kept = hollow.compose("exec", "-T", "hollow", "cat", f"/etc/knarr/nodes/{node_name(2)}.{ending}")
        (hollow.data_dir / f"node.{ending}").write_text(kept)
    hollow.kubectl("config", "set-credentials", "one", *(f"--client-{name}={hollow.data_dir / file}" for name, file in PAIR.items()))
    own = hollow.kubectl("--user=one", "annotate", "node", node_name(2), "told-by=itself", check=False)
    assert own.returncode == 0, own.stderr
    for other in (node_name(1), "node-1"):
        refused = hollow.kubectl("--user=one", "annotate", "node", other, "told-by=another", check=False)
        assert refused.returncode != 0 and "forbidden" in refused.stderr, refused.stderr


def test_what_befalls_them_comes_from_a_file(hollow: ComposeCluster) -> None:
    file = hollow.data_dir / "faults.yaml"
    file.write_text(FAULTS)
    hollow.environment["KNARR_HOLLOW_FAULTS"] = str(file)
    try:
        hollow.compose("--profile", "hollow", "up", "--detach", "--wait", "--wait-timeout", "120", "hollow")
        hollow.wait_for("the node that is off", lambda: NAMES - hollow.ready_nodes() == {node_name(12)}, seconds=LOST_SECONDS)
        assert hollow.ready_nodes() >= NODES.keys()
    finally:
        del hollow.environment["KNARR_HOLLOW_FAULTS"]

"""Volumes of local-path on machines: each has its own, and keeps it through drain, a restart of the machine and the whole cluster's end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.compose import NODES, ComposeCluster
from tests.support.engine import IMAGE

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

SELECTOR = {"app": "store"}
# Notes each start in its volume; goes at once when it is told to.
NOTE = "trap 'exit 0' TERM; hostname >>/data/starts; while :; do sleep 1 & wait $!; done"
FOLDERS = "/var/lib/knarr/kubelet/local-path"


def store() -> dict[str, Any]:
    container = {"name": "web", "image": IMAGE, "command": ["sh", "-c", NOTE], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}
    template = {"metadata": {"labels": SELECTOR}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 2}}
    spec = {
        "serviceName": "store",
        "replicas": len(NODES),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": SELECTOR},
        "template": template,
        "volumeClaimTemplates": [claim],
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "store"}, "spec": spec}


def budget() -> dict[str, Any]:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": SELECTOR}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "store"}, "spec": spec}


@pytest.fixture(scope="module")
def stores(cluster: ComposeCluster) -> Iterator[ComposeCluster]:
    """A pod with a volume on each node, one of which may be away."""
    cluster.knarr_load(IMAGE)
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": [store(), budget()]})
    try:
        wait_for_both(cluster)
        yield cluster
    finally:
        cluster.kubectl("delete", "statefulset,pdb", "store")
        cluster.kubectl("delete", "pvc", "-l", "app=store", "--timeout=60s")


def wait_for_both(cluster: ComposeCluster) -> None:
    cluster.wait_for("both pods", lambda: len(cluster.ready_pods("app=store")) == len(NODES), seconds=120)


def places(cluster: ComposeCluster) -> dict[str, str]:
    """The node of each pod that has one."""
    return {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in cluster.pods("app=store") if "nodeName" in pod["spec"]}


def starts(cluster: ComposeCluster, pod: str) -> list[str]:
    return cluster.kubectl("exec", pod, "--", "cat", "/data/starts").stdout.split()


def of_machine(cluster: ComposeCluster, node: str) -> list[str]:
    """Who wrote in the volumes that a machine has."""
    return sorted(set(cluster.in_node(node, "sh", "-c", f"cat {FOLDERS}/*/starts").split()))


def test_each_machine_has_the_volumes_of_its_own_pods(stores: ComposeCluster) -> None:
    found = places(stores)
    assert set(found.values()) == set(NODES)
    for pod, node in found.items():
        assert of_machine(stores, node) == [pod]


def test_a_drained_pod_waits_for_its_machine_and_the_other_may_not_go_meanwhile(stores: ComposeCluster) -> None:
    before, counts = places(stores), {pod: len(starts(stores, pod)) for pod in places(stores)}
    stores.wait_for("the budget", lambda: stores.get("pdb", "store").get("status", {}).get("disruptionsAllowed") == 1)
    try:
        stores.kubectl("drain", "node-1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
        gone = next(pod for pod, node in before.items() if node == "node-1")

        def told() -> str | None:
            conditions = stores.get("pod", gone)["status"].get("conditions", [])
            return next((entry["message"] for entry in conditions if entry.get("reason") == "Unschedulable"), None)

        # In Kubernetes' words, and both reasons: the other machine has not the volume, its own takes no pods.
        words = stores.wait_for("the pod that waits", told)
        assert words.startswith("0/2 nodes are available: ")
        assert "1 node(s) didn't match PersistentVolume's node affinity" in words and "1 node(s) were unschedulable" in words
        refused = stores.kubectl("drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=3s", check=False)
        assert refused.returncode != 0 and "would violate the pod's disruption budget" in refused.stderr
    finally:
        stores.kubectl("uncordon", *NODES)
    wait_for_both(stores)
    assert places(stores) == before
    counts[gone] += 1
    assert {pod: len(starts(stores, pod)) for pod in before} == counts


@pytest.mark.parametrize("commands", [[["restart", "node-1"]], [["down"], ["up", "--detach", "--wait", "--wait-timeout", "120"]]])
def test_volumes_outlive_the_machine_and_the_cluster(stores: ComposeCluster, commands: list[list[str]]) -> None:
    before, counts = places(stores), {pod: len(starts(stores, pod)) for pod in places(stores)}
    uids = {pod["metadata"]["uid"] for pod in stores.pods("app=store")}
    for command in commands:
        stores.compose(*command)

    def started_again() -> bool:
        return all(len(starts(stores, pod)) == counts[pod] + (len(commands) == 2 or node == "node-1") for pod, node in before.items())

    stores.wait_for("both nodes", lambda: stores.ready_nodes() == set(NODES))
    wait_for_both(stores)
    stores.wait_for("their starts", started_again)
    assert places(stores) == before and {pod["metadata"]["uid"] for pod in stores.pods("app=store")} == uids

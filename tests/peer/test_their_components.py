"""Kubernetes' own scheduler and controller manager, of 1.20, with our API server, and kubelets of ours that carry the pods."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from knarr.machinery.catalog import RETIRED
from tests.apiserver.rest.live import SETTINGS, running_server
from tests.peer.control_planes import HollowNode, in_loop_of, kube_controller_manager, kube_scheduler, until
from tests.peer.peers import Ask, Peer
from tests.peer.workloads import APPS, BATCH, CORE, WORKLOADS, job, job_spec, template, workload

pytestmark = pytest.mark.peer

MERGE = "application/merge-patch+json"
NODES = (1, 2)


@dataclass(frozen=True, slots=True)
class Cluster:
    api: Peer
    nodes: list[HollowNode]
    folder: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("their-components")
    settings = dataclasses.replace(SETTINGS, revived_versions=frozenset(RETIRED))
    nodes: list[HollowNode] = []

    with contextlib.ExitStack() as stack:
        live = stack.enter_context(running_server(folder, in_memory=True, settings=settings))

        def kubelets() -> list[Any]:
            nodes.extend(HollowNode.made(live, folder, number) for number in NODES)
            return [node.kubelet for node in nodes]

        stack.enter_context(in_loop_of(live, kubelets))
        stack.enter_context(kube_scheduler(live, folder))
        stack.enter_context(kube_controller_manager(live, folder))
        api = stack.enter_context(contextlib.closing(Peer(live)))
        for node in nodes:
            until(api, f"/api/v1/nodes/{node.name}", lambda found: {"type": "Ready", "status": "True"}.items() <= _ready(found).items())
        yield Cluster(api, nodes, folder)


def _ready(node: Any) -> dict[str, Any]:
    return next(found for found in node["status"]["conditions"] if found["type"] == "Ready")


def pods_of(cluster: Cluster, app: str) -> str:
    return f"{CORE}/pods?labelSelector=app%3D{app}"


@pytest.mark.parametrize("name", ["kube-scheduler", "kube-controller-manager"])
def test_they_elect_themselves_by_leases(cluster: Cluster, name: str) -> None:
    lease = until(
        cluster.api, f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}", lambda found: found["spec"]["holderIdentity"]
    )
    renewed = lease["spec"]["renewTime"]
    until(
        cluster.api,
        f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}",
        lambda found: found["spec"]["renewTime"] > renewed,
    )


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_workload_is_carried_out_and_goes_with_its_pods(cluster: Cluster, kind: str) -> None:
    collection, obj, holds = WORKLOADS[kind]
    name = obj["metadata"]["name"]
    assert cluster.api.ask(Ask("POST", collection, body=obj)).status == 201
    until(cluster.api, f"{collection}/{name}", holds)
    pods = until(
        cluster.api, pods_of(cluster, name), lambda found: found["items"] and all(pod["spec"]["nodeName"] for pod in found["items"])
    )
    assert {pod["spec"]["nodeName"] for pod in pods["items"]} <= {node.name for node in cluster.nodes}
    deletion = Ask("DELETE", f"{collection}/{name}", body={"propagationPolicy": "Background"})
    assert cluster.api.ask(deletion).status == 200
    until(cluster.api, pods_of(cluster, name), lambda found: not found["items"])


def test_a_deployment_is_rolled_out_and_back_to_nothing(cluster: Cluster) -> None:
    path = f"{APPS}/deployments/rolled"
    assert cluster.api.ask(Ask("POST", f"{APPS}/deployments", body=workload("Deployment", "rolled", replicas=2))).status == 201
    until(cluster.api, path, lambda found: found["status"]["availableReplicas"] == 2)
    change = {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}}
    assert cluster.api.ask(Ask("PATCH", path, body=change, content_type=MERGE)).status == 200
    until(cluster.api, path, lambda found: _rolled(found, 2))
    sets = cluster.api.ask(Ask("GET", f"{APPS}/replicasets", {"labelSelector": "app=rolled"})).body["items"]
    assert sorted(found["spec"]["replicas"] for found in sets) == [0, 2]
    assert cluster.api.ask(Ask("PATCH", f"{path}/scale", body={"spec": {"replicas": 0}}, content_type=MERGE)).status == 200
    until(cluster.api, pods_of(cluster, "rolled"), lambda found: not found["items"])


def _rolled(found: Any, replicas: int) -> bool:
    status = found["status"]
    return bool(
        status["observedGeneration"] == found["metadata"]["generation"]
        and status["updatedReplicas"] == status["availableReplicas"] == status["replicas"] == replicas
    )


def test_a_job_is_done_when_its_container_is(cluster: Cluster) -> None:
    assert cluster.api.ask(Ask("POST", f"{BATCH}/jobs", body=job("done"))).status == 201
    (pod,) = until(
        cluster.api, pods_of(cluster, "done"), lambda found: [item["status"]["phase"] for item in found["items"]] == ["Running"]
    )["items"]
    (node,) = (node for node in cluster.nodes if node.name == pod["spec"]["nodeName"])
    node.runtime.exit(pod["metadata"]["uid"], "c")
    until(cluster.api, f"{BATCH}/jobs/done", lambda found: found["status"]["succeeded"] == 1 and found["status"]["completionTime"])


def test_a_cron_job_makes_the_job_that_is_due(cluster: Cluster) -> None:
    body = {"metadata": {"name": "due"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job_spec("due")}}}
    assert cluster.api.ask(Ask("POST", f"{BATCH}/cronjobs", body=body)).status == 201
    # It has missed some: the controller, which looks every ten seconds, makes the last of them.
    before = (datetime.now(UTC) - timedelta(minutes=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = Ask("PATCH", f"{BATCH}/cronjobs/due/status", body={"status": {"lastScheduleTime": before}}, content_type=MERGE)
    assert cluster.api.ask(status).status == 200
    until(cluster.api, pods_of(cluster, "due"), lambda found: found["items"])
    assert cluster.api.ask(Ask("DELETE", f"{BATCH}/cronjobs/due", body={"propagationPolicy": "Background"})).status == 200
    until(cluster.api, pods_of(cluster, "due"), lambda found: not found["items"])


def test_a_service_gets_its_endpoints_in_both_forms(cluster: Cluster) -> None:
    assert cluster.api.ask(Ask("POST", f"{APPS}/deployments", body=workload("Deployment", "served", replicas=2))).status == 201
    service = {"metadata": {"name": "served"}, "spec": {"selector": {"app": "served"}, "ports": [{"port": 80}]}}
    assert cluster.api.ask(Ask("POST", f"{CORE}/services", body=service)).status == 201
    until(cluster.api, f"{CORE}/endpoints/served", lambda found: len(found["subsets"][0]["addresses"]) == 2)
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dserved"
    (found,) = until(cluster.api, slices, lambda found: _ready_endpoints(found) == 2)["items"]
    assert {endpoint["nodeName"] for endpoint in found["endpoints"]} <= {node.name for node in cluster.nodes}


def _ready_endpoints(slices: Any) -> int:
    return sum(endpoint["conditions"]["ready"] for found in slices["items"] for endpoint in found["endpoints"])


def test_a_namespace_gets_its_account_and_is_emptied(cluster: Cluster) -> None:
    assert cluster.api.ask(Ask("POST", "/api/v1/namespaces", body={"metadata": {"name": "brief"}})).status == 201
    account = until(cluster.api, "/api/v1/namespaces/brief/serviceaccounts/default", lambda found: found["secrets"])
    token = f"/api/v1/namespaces/brief/secrets/{account['secrets'][0]['name']}"
    assert until(cluster.api, token, lambda found: found["data"]["token"])["type"] == "kubernetes.io/service-account-token"
    assert cluster.api.ask(Ask("POST", "/api/v1/namespaces/brief/configmaps", body={"metadata": {"name": "a"}})).status == 201
    pod = {**template("p"), "metadata": {"name": "p"}}
    assert cluster.api.ask(Ask("POST", "/api/v1/namespaces/brief/pods", body=pod)).status == 201
    assert cluster.api.ask(Ask("DELETE", "/api/v1/namespaces/brief")).status == 200
    until(cluster.api, "/api/v1/namespaces", lambda found: "brief" not in [item["metadata"]["name"] for item in found["items"]])


def test_a_pod_that_fits_nowhere_hears_why(cluster: Cluster) -> None:
    body = {**template("misfit", nodeSelector={"no": "such"}), "metadata": {"name": "misfit"}}
    assert cluster.api.ask(Ask("POST", f"{CORE}/pods", body=body)).status == 201
    found = until(cluster.api, f"{CORE}/pods/misfit", lambda found: found["status"]["conditions"][0]["reason"] == "Unschedulable")
    assert found["status"]["conditions"][0]["message"].startswith("0/2 nodes are available")
    events = f"{CORE}/events?fieldSelector=involvedObject.name%3Dmisfit"
    until(cluster.api, events, lambda found: "FailedScheduling" in [event["reason"] for event in found["items"]])
    assert cluster.api.ask(Ask("DELETE", f"{CORE}/pods/misfit")).status == 200


def test_quotas_and_budgets_are_counted(cluster: Cluster) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"services": "9"}}}
    assert cluster.api.ask(Ask("POST", f"{CORE}/resourcequotas", body=quota)).status == 201
    until(cluster.api, f"{CORE}/resourcequotas/q", lambda found: int(found["status"]["used"]["services"]) > 0)
    assert cluster.api.ask(Ask("POST", f"{APPS}/deployments", body=workload("Deployment", "guarded", replicas=2))).status == 201
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}}}
    assert cluster.api.ask(Ask("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", body=budget)).status == 201
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b"
    until(cluster.api, path, lambda found: found["status"]["disruptionsAllowed"] == 1 and found["status"]["expectedPods"] == 2)


def test_they_missed_nothing(cluster: Cluster) -> None:
    """What they list and watch is there: reflectors that fail say so."""
    for name in ("kube-scheduler", "kube-controller-manager"):
        log = (cluster.folder / f"{name}.log").read_text()
        assert [line for line in log.splitlines() if "reflector.go" in line and line.startswith("E")] == []

"""grpcurl shows what every component is doing, with the README's lines."""

from __future__ import annotations

import json

import pytest

from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SERVICES = {
    "apiserver": "knarr.api.apiserver.v1.ResourceService",
    "scheduler": "knarr.api.scheduler.v1.SchedulerService",
    "controller": "knarr.api.controller.v1.ControllerService",
    "kubelet": "knarr.api.kubelet.v1.KubeletService",
    "proxy": "knarr.api.proxy.v1.ProxyService",
}


@pytest.mark.parametrize("component", SERVICES)
def test_every_component_lists_describes_and_is_healthy(cluster: KnarrCluster, component: str) -> None:
    assert SERVICES[component] in cluster.grpcurl(component, "list")
    assert "rpc " in cluster.grpcurl(component, "describe", SERVICES[component])
    assert json.loads(cluster.grpcurl(component, "grpc.health.v1.Health/Check"))["status"] == "SERVING"


def test_resource_service_reads_any_kind(cluster: KnarrCluster) -> None:
    request = json.dumps({"ref": {"resource": "namespaces", "name": "default"}})
    answer = json.loads(cluster.grpcurl("apiserver", f"-d={request}", f"{SERVICES['apiserver']}/Get"))
    assert answer["object"]["metadata"]["name"] == "default"


def test_the_components_own_calls_answer(cluster: KnarrCluster) -> None:
    cluster.kubectl("run", "shown", "--image=hello:1")
    cluster.wait_for("a ready pod", lambda: cluster.ready_pods("run=shown"))
    explained = json.loads(
        cluster.grpcurl("scheduler", f"-d={json.dumps({'namespace': 'default', 'pod': 'shown'})}", f"{SERVICES['scheduler']}/Explain")
    )
    assert explained["verdicts"][0]["node"] == cluster.node
    names = {pod["pod"]["metadata"]["name"] for pod in json.loads(cluster.grpcurl("kubelet", f"{SERVICES['kubelet']}/ListPods"))["pods"]}
    assert "shown" in names
    controllers = json.loads(cluster.grpcurl("controller", f"{SERVICES['controller']}/ListControllers"))["controllers"]
    assert {"deployment", "replicaset"} <= {controller["name"] for controller in controllers}
    routes = json.loads(cluster.grpcurl("proxy", f"{SERVICES['proxy']}/GetRoutes"))
    assert routes["datapath"] == "nftables"
    assert any(route["service"] == "kubernetes" for route in routes["routes"])
    cluster.kubectl("delete", "pod", "shown", "--wait=false")

"""kubectl top, and the APIServices that it and others read."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as kubelet
from knarr.api.meta.v1 import meta_pb2 as meta
from tests.apiserver.rest.kubectl import Kubectl
from tests.apiserver.rest.live import LiveServer

NODE = "measured"


def use(nanocores: int, mebibytes: int) -> tuple[kubelet.CpuRate, int]:
    time = meta.MicroTime(seconds=1_767_225_600)
    return kubelet.CpuRate(nanocores=nanocores, time=time, window_milliseconds=15_000), mebibytes << 20


def measured(live: LiveServer, namespace: str) -> None:
    """A node of four processors, and a pod with two containers on it."""
    node = core.Node(metadata=meta.ObjectMeta(name=NODE))
    node.status.capacity["cpu"].string, node.status.capacity["memory"].string = "4", "8Gi"
    node.status.allocatable["cpu"].string, node.status.allocatable["memory"].string = "4", "8Gi"
    live.call(live.client.create(node))
    node.metadata.resource_version = ""
    live.call(live.client.update(node, subresource="status"))
    pod = core.Pod(metadata=meta.ObjectMeta(name="web", namespace=namespace, labels={"app": "web"}), spec=core.PodSpec(node_name=NODE))
    for name in ("app", "side"):
        pod.spec.containers.add(name=name, image="x")
    live.call(live.client.create(pod))
    pod.status.phase = "Running"
    for name in ("app", "side"):
        pod.status.container_statuses.add(name=name, image="x").state.running.started_at.seconds = 1
    live.call(live.client.update(pod, subresource="status"))
    rate, size = use(2_000_000_000, 2048)
    said = kubelet.GetStatsResponse(node=kubelet.NodeStats(cpu_rate=rate, memory_bytes=size))
    for name, (rate, size) in (("app", use(250_000_000, 64)), ("side", use(1_500_000, 10))):
        ref = kubelet.ContainerRef(namespace=namespace, pod="web", container=name)
        said.containers.add(container=ref, cpu_rate=rate, memory_bytes=size)
    live.stats.said = {NODE: said}


async def test_top(kubectl: Kubectl, live: LiveServer) -> None:
    failed = await kubectl.try_("top", "pod")
    assert "No resources found" in failed.err
    measured(live, kubectl.namespace)
    assert [line.split() for line in (await kubectl("top", "pod")).lines] == [
        ["NAME", "CPU(cores)", "MEMORY(bytes)"], ["web", "252m", "74Mi"],
    ]  # fmt: skip
    assert [line.split() for line in (await kubectl("top", "pod", "--containers", "-l", "app=web")).lines[1:]] == [
        ["web", "app", "250m", "64Mi"], ["web", "side", "2m", "10Mi"],
    ]  # fmt: skip
    assert (await kubectl("top", "pod", "web", "--no-headers")).lines[0].split() == ["web", "252m", "74Mi"]
    assert (await kubectl("top", "pod", "-A", "--sum", "--sort-by=cpu")).lines[-1].split() == ["252m", "74Mi"]
    assert (await kubectl("top", "node")).lines[1].split() == [NODE, "2000m", "50%", "2048Mi", "25%"]
    assert (await kubectl("top", "node", NODE, "--no-headers")).lines[0].split()[0] == NODE
    assert (await kubectl("get", "pods.metrics.k8s.io")).lines[1].split() == ["web", "251500u", "74Mi", "15s"]
    assert [name.split(".")[0] for name in (await kubectl("api-resources", "--api-group=metrics.k8s.io", "-o", "name")).lines] == [
        "nodes", "pods",
    ]  # fmt: skip


async def test_pods_are_pods_all_the_same(kubectl: Kubectl) -> None:
    """Both groups have a resource of that name."""
    explained = await kubectl("explain", "pods")
    assert explained.lines[0].split() == ["KIND:", "Pod"]


@pytest.mark.parametrize("name", ["v1.apps", "v1.", "v1beta1.metrics.k8s.io"])
async def test_local_apiservices(kubectl: Kubectl, name: str) -> None:
    assert (await kubectl("get", "apiservice", name)).lines[1].split()[:3] == [name, "Local", "True"]


async def test_an_apiservice_without_a_service(kubectl: Kubectl) -> None:
    manifest = """
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.away.example.com}
spec:
  group: away.example.com
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 15
  service: {namespace: default, name: nobody}
"""
    await kubectl("apply", "-f", "-", stdin=manifest)
    await kubectl("wait", "apiservice/v1.away.example.com", "--for=condition=Available=False", "--timeout=10s")
    found = await kubectl("get", "apiservice", "v1.away.example.com")
    assert found.lines[1].split()[1:4] == ["default/nobody", "False", "(ServiceNotFound)"]
    refused = await kubectl.try_("get", "--raw", "/apis/away.example.com/v1/things")
    assert "the server is currently unable to handle the request" in refused.err
    assert (await kubectl("get", "nodes", "-o", "name")).code == 0
    await kubectl("delete", "apiservice", "v1.away.example.com")

"""metrics.k8s.io: what nodes and pods use, as clients are told it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as kubelet
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.machinery.errors import NotFound, status_error
from knarr.service.authentication import TokenTable, User, hash_token
from services.apiserver.api import Api
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.pipeline.usage import node_metrics, pod_metrics
from services.apiserver.rest.application import create_app
from tests.apiserver.definitions.asgi import TOKEN, Rest

TIME = meta.MicroTime(seconds=1_767_225_600, nanos=500_000_000)
ROOT = "/apis/metrics.k8s.io/v1beta1"
PODS = f"{ROOT}/namespaces/default/pods"


def rate(nanocores: int, window: int = 15_000, seconds: int = 0) -> kubelet.CpuRate:
    return kubelet.CpuRate(
        nanocores=nanocores, window_milliseconds=window, time=meta.MicroTime(seconds=TIME.seconds + seconds, nanos=TIME.nanos)
    )


class Nodes:
    """Answers what a test says, by node."""

    def __init__(self) -> None:
        self.said: dict[str, kubelet.GetStatsResponse] = {}
        self.asked: list[str] = []

    async def of(self, node: core.Node) -> kubelet.GetStatsResponse:
        self.asked.append(node.metadata.name)
        await asyncio.sleep(0)
        if node.metadata.name not in self.said:
            raise status_error("ServiceUnavailable", "away")
        return self.said[node.metadata.name]


@dataclass
class Cluster:
    rest: Rest
    nodes: Nodes
    api: ApiInMemory

    def stats(self, node: str, *containers: tuple[str, str, int, int]) -> None:
        """Pod, container, nanocores and bytes each."""
        said = self.nodes.said[node] = kubelet.GetStatsResponse()
        said.node.CopyFrom(kubelet.NodeStats(memory_bytes=3 << 30, cpu_rate=rate(1_500_000_000)))
        for pod, container, nanocores, size in containers:
            ref = kubelet.ContainerRef(namespace="default", pod=pod, container=container)
            said.containers.add(container=ref, memory_bytes=size, cpu_rate=rate(nanocores))


def pod(name: str, node: str, *containers: str, phase: str = "Running") -> core.Pod:
    made = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default", labels={"app": name}), spec=core.PodSpec(node_name=node))
    made.status.phase = phase
    for container in containers:
        made.spec.containers.add(name=container, image="x")
        made.status.container_statuses.add(name=container).state.running.started_at.seconds = 1
    return made


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    nodes = Nodes()
    async with ApiInMemory() as api:
        served = Api(dataclasses.replace(api.server.api.pipeline, node_stats=nodes))
        api.seed(*(core.Node(metadata=meta.ObjectMeta(name=name, labels={"zone": name})) for name in ("n1", "n2")))
        api.seed(pod("web", "n1", "a", "b"), pod("db", "n2", "c"), pod("done", "n1", "d", phase="Succeeded"), pod("new", "n1", "e"))
        await api.settle()
        tokens = TokenTable({hash_token(TOKEN): User("alice", groups=("system:masters", "system:authenticated"))})
        found = Cluster(Rest(api, create_app(served, tokens, api.server.registry)), nodes, api)
        found.stats("n1", ("web", "a", 5_000_000, 10 << 20), ("web", "b", 123, 1025), ("done", "d", 1, 1))
        yield found


async def test_pods(cluster: Cluster) -> None:
    answer = await cluster.rest("GET", PODS)
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("PodMetricsList", "metrics.k8s.io/v1beta1")
    (found,) = answer.json["items"]
    assert found["metadata"]["labels"] == {"app": "web"}
    assert "resourceVersion" not in found["metadata"]
    assert (found["timestamp"], found["window"]) == ("2026-01-01T00:00:00Z", "15s")
    assert found["containers"] == [
        {"name": "a", "usage": {"cpu": "5m", "memory": "10Mi"}},
        {"name": "b", "usage": {"cpu": "123n", "memory": "1025"}},
    ]
    one = (await cluster.rest("GET", f"{PODS}/web")).json
    assert (one["kind"], one["apiVersion"], one["containers"]) == ("PodMetrics", "metrics.k8s.io/v1beta1", found["containers"])
    assert (await cluster.rest("GET", f"{ROOT}/pods")).json["items"] == [found]


async def test_nodes(cluster: Cluster) -> None:
    answer = await cluster.rest("GET", f"{ROOT}/nodes")
    (found,) = answer.json["items"]
    assert (found["metadata"]["name"], found["usage"]) == ("n1", {"cpu": "1500m", "memory": "3Gi"})
    assert found["metadata"]["labels"] == {"zone": "n1"}
    assert (await cluster.rest("GET", f"{ROOT}/nodes/n1")).json["usage"] == found["usage"]


@pytest.mark.parametrize("name", ["nobody", "db", "done", "new"])
async def test_what_is_not_measured_is_not_found(cluster: Cluster, name: str) -> None:
    """It is not there, its node does not answer, it has ended, its container is not measured yet."""
    answer = await cluster.rest("GET", f"{PODS}/{name}")
    assert (answer.status, answer.json["reason"]) == (404, "NotFound")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("labelSelector=app%3Dweb", ["web"]),
        ("labelSelector=app%3Ddb", []),
        ("fieldSelector=metadata.name%3Dweb", ["web"]),
        ("fieldSelector=metadata.name!%3Dweb", []),
        ("fieldSelector=spec.nodeName%3Dn1", ["web"]),
    ],
)
async def test_selectors_are_those_of_the_pods(cluster: Cluster, query: str, names: list[str]) -> None:
    answer = await cluster.rest("GET", f"{PODS}?{query}")
    assert [item["metadata"]["name"] for item in answer.json["items"]] == names


async def test_only_nodes_that_matter_are_asked(cluster: Cluster) -> None:
    await cluster.rest("GET", f"{PODS}?labelSelector=app%3Dweb")
    assert cluster.nodes.asked == ["n1"]


async def test_tables(cluster: Cluster) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = (await cluster.rest("GET", PODS, accept=accept)).json
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "CPU", "Memory", "Window"]
    assert table["rows"][0]["cells"] == ["web", "5000123n", "10486785", "15s"]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_nothing_is_written(cluster: Cluster, method: str) -> None:
    assert (await cluster.rest(method, PODS, {})).status == 405
    assert (await cluster.rest("GET", f"{PODS}?watch=1")).status == 405


async def test_many_pods_let_others_have_their_turn(cluster: Cluster) -> None:
    cluster.api.seed(*(pod(f"p{number}", "n1", "c") for number in range(1000)))
    await cluster.api.settle()
    cluster.stats("n1", *((f"p{number}", "c", 1, 1) for number in range(1000)))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    answer = await cluster.rest("GET", PODS)
    counting.cancel()
    assert len(answer.json["items"]) == 1000
    assert turns >= 10


def test_the_part_that_was_measured_first_says_when() -> None:
    by_container = {
        ("default", "web"): {
            "a": kubelet.ContainerStats(cpu_rate=rate(1, 3_000, seconds=10)),
            "b": kubelet.ContainerStats(cpu_rate=rate(1, 1_500)),
        }
    }
    made: Any = pod_metrics(pod("web", "n1", "a", "b"), by_container)
    assert (made.timestamp.seconds, made.window.duration) == (TIME.seconds, 1_500_000_000)
    assert pod_metrics(pod("web", "n1", "a", "b", "new"), by_container) is None
    assert node_metrics(core.Node(), kubelet.NodeStats(memory_bytes=1)) is None


async def test_over_grpc_too(cluster: Cluster) -> None:
    """By the message; nothing is kept of it."""
    with pytest.raises(NotFound):
        await cluster.api.client().get(metrics.PodMetrics, "nobody", "default")

"""A kubelet without a range of its own takes the one that its Node is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.docker.network import ensure_network
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import RuntimeFailure
from tests.kubelet.docker_support import docker
from tests.kubelet.support import NODE, Cluster, condition, make_pod, running
from tests.support.api import FaultyApi

GIVEN = "10.244.7.0/24"


class CountingRuntime(HollowRuntime):
    """Counts its starts."""

    starts = 0

    async def start(self) -> None:
        self.starts += 1
        await super().start()


def one_node(api: FaultyApi) -> core.Node | None:
    return next((node for node in api.all(core.Node) if node.metadata.name == NODE), None)


def words(api: FaultyApi, kind: str) -> str:
    node = one_node(api)
    return next((found.message for found in node.status.conditions if found.type == kind), "") if node else ""


async def give(cluster: Cluster, pod_cidr: str) -> None:
    node = await cluster.client.get(core.Node, NODE)
    node.spec.pod_cidr = pod_cidr
    node.spec.pod_cidrs.append(pod_cidr)
    await cluster.client.update(node)


def seeded(pod_cidr: str, name: str = NODE) -> core.Node:
    node = core.Node()
    node.metadata.name, node.spec.pod_cidr = name, pod_cidr
    node.spec.pod_cidrs.append(pod_cidr)
    return node


async def test_it_registers_without_one_and_waits_in_clear_words(tmp_path: Path) -> None:
    runtime = CountingRuntime("")
    async with running(runtime, tmp_path, wait=False, pod_cidr="") as cluster:
        await cluster.until(lambda: one_node(cluster.api))
        node = one_node(cluster.api)
        assert node is not None and not node.spec.pod_cidr and not node.spec.pod_cidrs
        assert (condition(node, "Ready"), condition(node, "NetworkUnavailable")) == ("False", "True")
        assert "no podCIDR yet" in words(cluster.api, "Ready") and "no podCIDR yet" in words(cluster.api, "NetworkUnavailable")
        assert runtime.starts == 0
        await cluster.client.create(make_pod())
        await give(cluster, GIVEN)
        pod = await cluster.ready()
        assert pod.status.pod_ip.startswith("10.244.7.")
        await cluster.until(lambda: condition(one_node(cluster.api), "NetworkUnavailable") == "False")
        assert condition(one_node(cluster.api), "Ready") == "True"


async def test_a_restart_takes_the_range_that_the_node_has_and_never_looks_unready(tmp_path: Path) -> None:
    api = FaultyApi()
    api.seed(seeded(GIVEN))
    async with running(CountingRuntime(""), tmp_path, api, pod_cidr="") as cluster:
        await cluster.client.create(make_pod())
        assert (await cluster.ready()).status.pod_ip.startswith("10.244.7.")
        readiness = [
            condition(write.obj, "Ready") for write in api.writes if write.message_type is core.Node and write.subresource == "status"
        ]
        assert set(readiness) == {"True"}


async def test_a_node_that_is_made_anew_wishes_its_range_again(tmp_path: Path) -> None:
    api = FaultyApi()
    api.seed(seeded(GIVEN))
    async with running(HollowRuntime(""), tmp_path, api, pod_cidr="", status_check_seconds=0.01, status_report_seconds=0.01) as cluster:
        await cluster.client.delete(core.Node, NODE)
        await cluster.until(lambda: one_node(api))
        node = one_node(api)
        assert node is not None and not node.spec.pod_cidr and node.metadata.annotations["knarr.io/pod-cidr"] == GIVEN
        await give(cluster, GIVEN)
        assert condition(one_node(api), "Ready") == "True"


async def test_a_node_that_is_given_another_range_says_what_to_do(tmp_path: Path) -> None:
    api = FaultyApi()
    api.seed(seeded(GIVEN))
    async with running(HollowRuntime(""), tmp_path, api, pod_cidr="", status_check_seconds=0.01, status_report_seconds=0.01) as cluster:
        await cluster.client.delete(core.Node, NODE)
        await cluster.until(lambda: (node := one_node(api)) is not None and not node.spec.pod_cidr)
        await give(cluster, "10.244.8.0/24")
        await cluster.until(lambda: condition(one_node(api), "NetworkUnavailable") == "True")
        assert "10.244.8.0/24 now, and its pods have addresses of 10.244.7.0/24" in words(api, "Ready")


@pytest.mark.docker
async def test_the_engines_network_is_made_over_the_range_and_a_strange_one_refused() -> None:
    async with docker() as (runtime, settings, _image):
        await runtime.start()
        engine, own = runtime._engine, runtime._own
        runtime.use_pod_cidr("10.254.191.0/24")
        # Ours, and nobody on it: made anew.
        await runtime.start()
        found = await engine.request("GET", f"networks/{settings.network}")
        assert found["IPAM"]["Config"][0]["Subnet"] == "10.254.191.0/24"
        with pytest.raises(RuntimeFailure, match=r"over 10\.254\.191\.0/24, not over the node's podCIDR .*it is not this node's"):
            await ensure_network(engine, settings, "10.254.77.1", {**own, "io.knarr.node": "another"})

"""Many simulated nodes in one process: each is a node by itself, and one that fails is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.machinery.errors import NotFound
from knarr.objects.hollow import node_name
from knarr.service.node_calls import naming
from services.kubelet.hollow_faults import HollowFaults
from services.kubelet.hollow_nodes import NONE, HollowNodes, HollowNodesSettings, NodesServicer
from services.kubelet.settings import KubeletSettings
from tests.kubelet.support import condition, make_pod, until
from tests.support.api import FaultyApi
from tests.support.rights import kubelet as kubelet_of
from tests.support.virtual_time import VirtualClock, virtual_time


@asynccontextmanager
async def hollow(api: FaultyApi, folder: Path, count: int = 3, faults: HollowFaults = NONE) -> AsyncIterator[HollowNodes]:
    """Nodes that are ready."""
    node = KubeletSettings(node_name="", data_dir=folder, node_ip="192.0.2.10", port=10261)
    settings = HollowNodesSettings(node, range(1, count + 1), lambda number: f"10.244.{number}.0/24", faults=faults)
    nodes = HollowNodes(lambda name: api.client(kubelet_of(name)), settings, VirtualClock())
    task = asyncio.create_task(nodes.run())
    try:
        await until(lambda: nodes.ready or task.done())
        assert not task.done()
        yield nodes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pod_on(number: int, name: str) -> core.Pod:
    pod = make_pod(name)
    pod.spec.node_name = node_name(number)
    return pod


def asked_of(node: str) -> Any:
    return SimpleNamespace(invocation_metadata=lambda: naming(node))


@virtual_time
async def test_each_registers_heartbeats_and_runs_its_pods(tmp_path: Path) -> None:
    api = FaultyApi(VirtualClock())
    async with hollow(api, tmp_path):
        for number in (1, 2, 3):
            await api.client().create(pod_on(number, f"p{number}"))
        await until(lambda: [condition(pod, "Ready") for pod in api.all(core.Pod)] == ["True"] * 3)
        nodes = {node.metadata.name: node for node in api.all(core.Node)}
        assert sorted(nodes) == [node_name(number) for number in (1, 2, 3)]
        assert {node.spec.pod_cidr for node in nodes.values()} == {"10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"}
        for pod in api.all(core.Pod):
            assert pod.status.pod_ip.rpartition(".")[0] + ".0/24" == nodes[pod.spec.node_name].spec.pod_cidr
        before = {lease.metadata.name: lease.spec.renew_time.seconds for lease in api.all(coordination.Lease)}
        assert sorted(before) == sorted(nodes)
        await asyncio.sleep(25)
        after = {lease.metadata.name: lease.spec.renew_time.seconds for lease in api.all(coordination.Lease)}
        assert all(after[name] - before[name] == 20 for name in before)


@virtual_time
async def test_one_that_fails_comes_again_and_the_others_have_not_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FaultyApi(VirtualClock())
    async with hollow(api, tmp_path) as nodes:
        first, second = nodes.nodes[node_name(1)], nodes.nodes[node_name(2)]
        assert first.kubelet is not None and second.kubelet is not None
        failed, stayed = first.kubelet, second.kubelet
        monkeypatch.setattr(failed._lease, "_renew", _fails)
        await api.client().create(pod_on(1, "after"))
        await until(lambda: first.kubelet is not failed and first.ready)
        await until(lambda: condition(api.all(core.Pod)[0], "Ready") == "True")
        assert nodes.ready
        assert second.kubelet is stayed


async def _fails() -> None:
    raise RuntimeError("broken")


@virtual_time
async def test_others_come_and_go_and_the_rest_have_not_noticed(tmp_path: Path) -> None:
    api = FaultyApi(VirtualClock())
    async with hollow(api, tmp_path, 2) as nodes:
        stayed = nodes.nodes[node_name(2)].kubelet
        nodes.become([2, 3])
        await until(lambda: nodes.nodes[node_name(3)].ready)
        assert sorted(nodes.nodes) == [node_name(2), node_name(3)] and nodes.nodes[node_name(2)].kubelet is stayed
        leases = {lease.metadata.name: lease.spec.renew_time.seconds for lease in api.all(coordination.Lease)}
        await asyncio.sleep(25)
        later = {lease.metadata.name: lease.spec.renew_time.seconds for lease in api.all(coordination.Lease)}
        assert later[node_name(1)] == leases[node_name(1)] and later[node_name(2)] > leases[node_name(2)]
        assert nodes.ready
        nodes.become([])
        assert nodes.ready and not nodes.nodes


@virtual_time
async def test_what_is_asked_of_one_it_answers(tmp_path: Path) -> None:
    api = FaultyApi(VirtualClock())
    async with hollow(api, tmp_path) as nodes:
        await api.client().create(pod_on(2, "web"))
        await until(lambda: condition(api.all(core.Pod)[0], "Ready") == "True")
        servicer = NodesServicer(lambda: nodes.nodes)
        listed = await servicer.ListPods(pb.ListPodsRequest(), asked_of(node_name(2)))
        assert [found.pod.metadata.name for found in listed.pods] == ["web"]
        assert not (await servicer.ListPods(pb.ListPodsRequest(), asked_of(node_name(1)))).pods
        wanted = pb.LogsRequest(container=pb.ContainerRef(namespace="default", pod="web"))
        logged = [found.data async for found in servicer.Logs(wanted, asked_of(node_name(2)))]
        assert b"pod default/web" in logged[0]
        used = await servicer.GetStats(pb.GetStatsRequest(), asked_of(node_name(2)))
        assert [found.container.pod for found in used.containers] == ["web"] and used.node.memory_bytes == 1 << 20
        with pytest.raises(NotFound, match=r"node-9\.hollow"):
            await servicer.ListPods(pb.ListPodsRequest(), asked_of(node_name(9)))


@virtual_time
async def test_a_lease_is_not_read_for_each_renewal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = FaultyApi(VirtualClock())
    async with hollow(api, tmp_path, 1):
        await until(lambda: api.all(coordination.Lease))
        api.writes.clear()
        await asyncio.sleep(35)
        renewals = [write for write in api.writes if write.message_type is coordination.Lease]
        assert [write.verb for write in renewals] == ["update"] * len(renewals) and len(renewals) >= 3
        # Somebody else's hand in it costs one that is refused, and no renewal.
        (lease,) = api.all(coordination.Lease)
        lease.metadata.labels["touched"] = "yes"
        await api.client().update(lease)
        before = lease.spec.renew_time.seconds
        await asyncio.sleep(10.5)
        (found,) = api.all(coordination.Lease)
        assert found.spec.renew_time.seconds > before and found.metadata.labels["touched"] == "yes"
        await api.client().delete(coordination.Lease, found.metadata.name, found.metadata.namespace)
        await asyncio.sleep(10.5)
        assert api.all(coordination.Lease)

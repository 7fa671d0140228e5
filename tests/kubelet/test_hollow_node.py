"""A whole kubelet on the hollow runtime."""

from __future__ import annotations

from pathlib import Path

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.hollow import HollowRuntime
from tests.kubelet.support import NODE, condition, make_pod, running

CIDR = "10.244.0.0/24"


async def test_registers_a_ready_node_and_its_lease(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        node = await cluster.client.get(core.Node, NODE)
        assert condition(node, "Ready") == "True"
        assert node.status.capacity["pods"].string == "110"
        assert node.metadata.labels["kubernetes.io/hostname"] == NODE
        assert node.spec.pod_cidr == CIDR
        assert await cluster.until(lambda: [lease for lease in cluster.api.all(coordination.Lease) if lease.metadata.name == NODE])


async def test_node_is_not_ready_while_the_engine_is_away(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        runtime.trouble = "cannot connect"
        await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "Ready") == "False")
        ready = next(c for c in cluster.api.all(core.Node)[0].status.conditions if c.type == "Ready")
        assert (ready.reason, ready.message) == ("KubeletNotReady", "container runtime is down: cannot connect")
        runtime.trouble = ""
        await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "Ready") == "True")


async def test_runs_a_pod_and_deletes_it(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod("web", "app", "sidecar"))
        pod = await cluster.ready()
        assert pod.status.phase == "Running"
        assert pod.status.pod_ip.startswith("10.244.0.")
        assert [status.name for status in pod.status.container_statuses] == ["app", "sidecar"]
        await cluster.until(lambda: len(cluster.events("Started")) == 2)
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: cluster.pod() is None)
        await cluster.until(lambda: not cluster.runtime.observed() and not cluster.kubelet.manager.workers)
        assert not list((tmp_path / "pods").iterdir())


async def test_restarts_a_container_that_exits(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod())
        pod = await cluster.ready()
        runtime.exit(pod.metadata.uid, "app", 3)
        await cluster.until(lambda: (p := cluster.pod()) and p.status.container_statuses[0].restart_count == 1)
        status = (await cluster.ready()).status.container_statuses[0]
        assert status.last_state.terminated.exit_code == 3
        assert status.last_state.terminated.reason == "Error"


async def test_completes_a_pod_that_is_not_restarted(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod(restart_policy="Never"))
        pod = await cluster.ready()
        runtime.exit(pod.metadata.uid, "app", 0)
        pod = await cluster.phase("Succeeded")
        assert pod.status.container_statuses[0].state.terminated.reason == "Completed"
        await cluster.until(lambda: (seen := cluster.observed()) is not None and not seen.sandboxes)

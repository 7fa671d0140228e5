"""RuntimeClasses on a node: by what of its engine a pod runs, and what becomes of one that nothing there can run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.node.v1 import node_pb2 as nodes
from knarr.machinery.errors import status_error
from services.kubelet.node.mounts import can_set_attributes
from services.kubelet.pod.sandbox_plan import sandbox_plan
from services.kubelet.runtime.hollow import HollowRuntime
from tests.kubelet.docker_support import docker
from tests.kubelet.support import Cluster, make_pod, running
from tests.support.virtual_time import VirtualClock, virtual_time

CIDR = "10.244.0.0/24"


def runtime_class(name: str, handler: str) -> nodes.RuntimeClass:
    return nodes.RuntimeClass(metadata=meta.ObjectMeta(name=name), handler=handler)


def sandboxed(class_name: str = "sandboxed") -> core.Pod:
    return make_pod(runtime_class_name=class_name)


def handlers(cluster: Cluster) -> set[str]:
    """Those by which the sandbox and all containers were made."""
    observed = cluster.observed()
    assert observed is not None
    return {sandbox.handler for sandbox in observed.sandboxes} | {plan.handler for plan in cluster.runtime._plans.values()}


@asynccontextmanager
async def running_by(folder: Path, *names: str) -> AsyncIterator[Cluster]:
    """A kubelet whose engine has these handlers."""
    clock = VirtualClock()
    runtime = HollowRuntime(CIDR, clock=clock)
    runtime.handlers = names
    async with running(runtime, folder, clock=clock) as cluster:
        yield cluster


async def create_sandboxed(cluster: Cluster, handler: str) -> None:
    """A pod of a class with that handler."""
    await cluster.client.create(runtime_class("sandboxed", handler))
    await cluster.client.create(sandboxed())


@virtual_time
async def test_sandbox_and_containers_are_made_by_the_handler_of_the_class(tmp_path: Path) -> None:
    async with running_by(tmp_path, "runc", "runsc") as cluster:
        await create_sandboxed(cluster, "runsc")
        await cluster.ready()
        assert handlers(cluster) == {"runsc"}


@virtual_time
async def test_a_pod_that_runs_keeps_its_handler_without_the_class(tmp_path: Path) -> None:
    async with running_by(tmp_path, "runsc") as cluster:
        await create_sandboxed(cluster, "runsc")
        pod = await cluster.ready()
        await cluster.client.delete(nodes.RuntimeClass, "sandboxed")
        cluster.runtime.exit(pod.metadata.uid, "app", 1)
        await cluster.until(lambda: (p := cluster.pod()) and p.status.container_statuses[0].restart_count == 1)
        await cluster.ready()
        assert handlers(cluster) == {"runsc"}


@virtual_time
async def test_a_pod_without_a_class_is_the_engines_default(tmp_path: Path) -> None:
    async with running_by(tmp_path, "runsc") as cluster:
        await cluster.client.create(make_pod())
        await cluster.ready()
        assert handlers(cluster) == {""}


@virtual_time
async def test_a_handler_that_the_engine_does_not_have_is_waited_for(tmp_path: Path) -> None:
    async with running_by(tmp_path, "runc") as cluster:
        await create_sandboxed(cluster, "runsc")
        words = 'Failed to create pod sandbox: failed to get sandbox runtime: no runtime for "runsc" is configured'
        await cluster.until(lambda: words in cluster.events("FailedCreatePodSandBox"))
        pod = await cluster.phase("Pending")
        assert [status.state.waiting.reason for status in pod.status.container_statuses] == ["ContainerCreating"]
        assert cluster.observed() is None, "nothing of it runs by anything else"
        cluster.runtime.handlers = ("runc", "runsc")
        await cluster.ready()
        assert handlers(cluster) == {"runsc"}


@virtual_time
async def test_a_class_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    """The API server takes no pod of a class that is not there; this one was stored before the class went."""
    async with running_by(tmp_path, "runc") as cluster:
        pod = sandboxed("gone")
        pod.metadata.uid = "uid-of-web"
        cluster.api.seed(pod)
        words = 'Failed to create pod sandbox: runtimeclasses.node.k8s.io "gone" not found'
        await cluster.until(lambda: words in cluster.events("FailedCreatePodSandBox"))
        await cluster.client.create(runtime_class("gone", "runc"))
        await cluster.ready()
        assert handlers(cluster) == {"runc"}


@virtual_time
async def test_an_api_that_is_away_for_a_moment_is_no_event(tmp_path: Path) -> None:
    async with running_by(tmp_path, "runc") as cluster:
        await cluster.client.create(runtime_class("sandboxed", "runc"))
        cluster.api.fail_next(status_error("ServiceUnavailable", "away"), verb="get", message_type=nodes.RuntimeClass)
        await cluster.client.create(sandboxed())
        await cluster.ready()
        assert not cluster.events("FailedCreatePodSandBox")


@virtual_time
async def test_the_node_says_what_it_can_run_pods_by(tmp_path: Path) -> None:
    async with running_by(tmp_path, "kata", "runc") as cluster:
        (node,) = cluster.api.all(core.Node)
        assert [handler.name for handler in node.status.runtime_handlers] == ["", "kata", "runc"]
        features = node.status.runtime_handlers[0].features
        assert features.HasField("user_namespaces") and not features.user_namespaces
        assert features.HasField("recursive_read_only_mounts") and features.recursive_read_only_mounts is can_set_attributes()
        assert node.status.features.supplemental_groups_policy
        cluster.runtime.handlers = ("runc",)
        await cluster.until(lambda: [one.name for one in cluster.api.all(core.Node)[0].status.runtime_handlers] == ["", "runc"])


@pytest.mark.parametrize(("cpu", "shares"), [("", 2), ("250m", 256), ("1m", 2)], ids=["none", "a-quarter", "next-to-nothing"])
def test_the_overhead_is_the_sandboxes_weight(cpu: str, shares: int) -> None:
    pod = make_pod()
    if cpu:
        pod.spec.overhead["cpu"].string = cpu
    assert sandbox_plan(pod, 0, "cluster.local").cpu_shares == shares


@pytest.mark.docker
async def test_the_engine_is_told_the_handler(tmp_path: Path) -> None:
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        handler = next(name for name in runtime.handlers if name != "runc")
        other = runtime_class("other", handler)
        other.overhead.pod_fixed["cpu"].string = "250m"
        # Its name is none that a class could have; it is the one that differs from the default on every engine.
        cluster.api.seed(other, checked=False)
        pod = make_pod(runtime_class_name="other")
        pod.spec.containers[0].image = image
        pod.spec.containers[0].command.extend(["sleep", "1000"])
        await cluster.client.create(pod)
        await cluster.ready()
        observed = cluster.observed()
        assert observed is not None and observed.sandbox is not None and observed.sandbox.handler == handler
        hosts = []
        for engine_id in (observed.sandbox.id, *(container.id for container in observed.containers)):
            inspected = await runtime._engine.request("GET", f"containers/{engine_id}/json")
            hosts.append(inspected["HostConfig"])
        assert [host["Runtime"] for host in hosts] == [handler, handler]
        assert hosts[0]["CpuShares"] == 256

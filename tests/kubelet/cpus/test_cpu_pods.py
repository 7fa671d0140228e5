"""Pods that have processors alone, from their admission to their end: on hollow nodes, and on Docker as the kernel sees them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.service.errors import CommandError
from services.kubelet.component import Kubelet
from services.kubelet.cpu_policy import CpuPolicy
from services.kubelet.cpus.checkpoint import NAME
from services.kubelet.cpus.topology import Cpu, Topology
from services.kubelet.node_flags import node_settings_of
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import Runtime
from tests.kubelet.docker_support import docker
from tests.kubelet.pod.test_resize import resize
from tests.kubelet.support import Cluster, make_pod, running, settings, until
from tests.support.api import FaultyApi

CIDR = "10.244.0.0/24"
STATIC = CpuPolicy(static=True, reserved=frozenset({0}))
RESERVED: dict[str, Any] = {"cpu_policy": STATIC, "system_reserved": {"cpu": 1000}}


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 8 processors, of which 4 are known to be there: what is admitted by amounts may still not be had."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr("services.kubelet.cpus.keeper.read_topology", lambda: Topology(Cpu(number, number) for number in range(4)))


def pod(name: str, cpu: str = "", most: str = "", **spec: Any) -> core.Pod:
    made = make_pod(name, **spec)
    made.spec.termination_grace_period_seconds = 1
    for kind, text in ((made.spec.containers[0].resources.requests, cpu), (made.spec.containers[0].resources.limits, most or cpu)):
        if text:
            kind["cpu"].string, kind["memory"].string = text, "64Mi"
    return made


def cpuset(cluster: Cluster, name: str, container: str = "app") -> str:
    observed = cluster.observed(name)
    found = observed.latest(container) if observed is not None else None
    return found.limits.cpuset if found is not None and found.limits is not None else ""


async def test_who_has_them_alone_and_who_makes_room(tmp_path: Path, four: None) -> None:
    async with running(HollowRuntime(CIDR), tmp_path, **RESERVED) as cluster:
        for made in (pod("shared"), pod("burstable", "1", "2"), pod("part", "500m")):
            await cluster.client.create(made)
            await cluster.ready(made.metadata.name)
            assert cpuset(cluster, made.metadata.name) == "0-3"
        await cluster.client.create(pod("alone", "2"))
        ready = await cluster.ready("alone")
        assert cpuset(cluster, "alone") == "1-2"
        observed = cluster.observed("alone").latest("app")  # type: ignore[union-attr]
        assert observed.limits.cpu_quota_micros == 0, "nor is it held up for a moment"  # type: ignore[union-attr]
        assert ready.status.container_statuses[0].resources.limits["cpu"].string == "2"
        await until(lambda: {cpuset(cluster, name) for name in ("shared", "burstable", "part")} == {"0,3"})
        assert cluster.events("ResizeStarted") == [] and cluster.events("ResizeCompleted") == []
        await cluster.client.create(pod("another", "2"))
        failed = await cluster.phase("Failed", "another")
        words = "Allocate failed due to not enough cpus available to satisfy request: requested=2, available=1, which is unexpected"
        assert (failed.status.reason, failed.status.message) == ("UnexpectedAdmissionError", f"Pod was rejected: {words}")
        await cluster.client.delete(core.Pod, "alone", "default")
        await until(lambda: {cpuset(cluster, name) for name in ("shared", "burstable", "part")} == {"0-3"})


async def test_one_that_has_ended_gives_them_back_while_its_object_stays(tmp_path: Path, four: None) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path, **RESERVED) as cluster:
        await cluster.client.create(pod("job", "3", restart_policy="Never"))
        ready = await cluster.ready("job")
        assert cpuset(cluster, "job") == "1-3"
        runtime.exit(ready.metadata.uid, "app")
        await cluster.phase("Succeeded", "job")
        await cluster.client.create(pod("next", "3"))
        await cluster.ready("next")
        assert cpuset(cluster, "next") == "1-3"


async def test_a_kubelet_that_comes_anew_gives_none_of_them_away(tmp_path: Path, four: None) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path, **RESERVED) as cluster:
        for name in ("first", "gone"):
            await cluster.client.create(pod(name, "1"))
            await cluster.ready(name)
        assert (cpuset(cluster, "first"), cpuset(cluster, "gone")) == ("1", "2")
    gone = cluster.pod("gone")
    assert gone is not None
    await cluster.client.delete(core.Pod, "gone", "default", grace_period_seconds=0, uid=gone.metadata.uid)
    async with running(runtime, tmp_path, cluster.api, **RESERVED) as again:
        await again.until(lambda: runtime.observe(gone.metadata.uid) is None)
        await again.client.create(pod("second", "2"))
        await again.ready("second")
        assert (cpuset(again, "first"), cpuset(again, "second")) == ("1", "2-3")


async def test_one_that_ran_before_they_were_given_to_any_has_them_from_now_on(tmp_path: Path, four: None) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        for made in (pod("old", "2"), pod("other")):
            await cluster.client.create(made)
            await cluster.ready(made.metadata.name)
        assert cpuset(cluster, "old") == ""
    async with running(runtime, tmp_path, cluster.api, **RESERVED) as again:
        await until(lambda: (cpuset(again, "old"), cpuset(again, "other")) == ("1-2", "0,3"))
        assert again.pod("old").status.container_statuses[0].restart_count == 0  # type: ignore[union-attr]


async def test_a_guaranteed_pod_keeps_what_it_began_with(tmp_path: Path, four: None) -> None:
    async with running(HollowRuntime(CIDR), tmp_path, **RESERVED) as cluster:
        await cluster.client.create(pod("web", "1"))
        await cluster.ready()
        await resize(cluster, requests={"cpu": "2"}, limits={"cpu": "2"})
        await until(lambda: cluster.events("ResizeInfeasible"))
        assert 'Resize is infeasible for Guaranteed Pods alongside CPU Manager policy \\"static\\"' in cluster.events("ResizeInfeasible")[0]
        assert cpuset(cluster, "web") == "1"
        await resize(cluster, requests={"cpu": "1", "memory": "128Mi"}, limits={"cpu": "1", "memory": "128Mi"})
        await until(lambda: cluster.pod().status.container_statuses[0].resources.limits["memory"].string == "128Mi")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("before", "changes", "words"),
    [
        ("{}", RESERVED, "checkpoint is corrupted; drain this node, remove"),
        (None, {"cpu_policy": CpuPolicy(static=True, reserved=frozenset({9}))}, "processors 9 cannot be reserved: online are 0-3"),
    ],
)
async def test_what_cannot_be_gone_on_with_is_told_before_anything_runs(
    tmp_path: Path, four: None, before: str | None, changes: dict[str, Any], words: str
) -> None:
    if before is not None:
        (tmp_path / NAME).write_text(before)
    with pytest.raises(CommandError, match=words):
        await Kubelet(FaultyApi().client(), settings(tmp_path, **changes), HollowRuntime(CIDR)).run()


async def test_another_policy_than_the_last_one_needs_a_drain(tmp_path: Path, four: None) -> None:
    async with running(HollowRuntime(CIDR), tmp_path, **RESERVED) as cluster:
        await cluster.client.create(pod("web", "1"))
        await cluster.ready()
    words = f'configured policy "none" differs from state checkpoint policy "static"; drain this node, remove {tmp_path / NAME}'
    with pytest.raises(CommandError, match=words):
        await Kubelet(FaultyApi().client(), settings(tmp_path), HollowRuntime(CIDR)).run()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--cpu-manager-policy=static", "needs processors that are kept for the system: give --reserved-cpus"),
        ("--cpu-manager-policy=dynamic", "invalid choice: 'dynamic'"),
        ("--cpu-manager-policy-options=full-pcpus-only=true", "give --cpu-manager-policy=static"),
        ("--reserved-cpus=two", "'two' is neither a processor nor a range"),
        ("--topology-manager-policy=restricted", "--topology-manager-policy: there is no policy 'restricted' here"),
        ("--memory-manager-policy=Static", "--memory-manager-policy: there is no policy 'Static' here"),
    ],
)
def test_flags_that_make_no_sense_are_told_by_name(flags: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        node_settings_of(flags)


def test_a_list_takes_the_place_of_amounts() -> None:
    policy = "--cpu-manager-policy=static --cpu-manager-policy-options=strict-cpu-reservation=true"
    made = node_settings_of(f"{policy} --reserved-cpus=0-1 --kube-reserved=cpu=100m,memory=1Gi")
    assert made["cpu_policy"] == CpuPolicy(static=True, strict=True, reserved=frozenset({0, 1}))
    assert (made["kube_reserved"], made["system_reserved"]) == ({"memory": 1 << 30}, {"cpu": 2000})


@asynccontextmanager
async def docker_node(folder: Path, api: FaultyApi | None = None) -> AsyncIterator[tuple[Cluster, Runtime, str]]:
    async with docker() as (runtime, _, image), running(runtime, folder, api, **RESERVED) as cluster:
        yield cluster, runtime, image


async def allowed(runtime: Runtime, cluster: Cluster, name: str) -> str:
    """The processors that the kernel lets a container's processes run on."""
    status = cluster.pod(name).status.container_statuses[0]  # type: ignore[union-attr]
    async with await runtime.exec(status.container_id.partition("://")[2], ("cat", "/proc/1/status"), stdin=False, tty=False) as session:
        said = b""
        while (piece := await session.read()) is not None:
            said += piece[1]
    return next(line.split()[1] for line in said.decode().splitlines() if line.startswith("Cpus_allowed_list:"))


@pytest.mark.docker
async def test_the_kernel_keeps_a_processor_for_one_container(tmp_path: Path) -> None:
    last = (os.cpu_count() or 1) - 1
    if last < 1:
        pytest.skip("a machine of one processor")
    async with docker_node(tmp_path) as (cluster, runtime, image):
        for made in (pod("shared"), pod("alone", "1")):
            made.spec.containers[0].image = image
            made.spec.containers[0].command[:] = ["sleep", "1000"]
            await cluster.client.create(made)
            await cluster.ready(made.metadata.name)
        assert await allowed(runtime, cluster, "alone") == "1"
        everybody = "0" if last == 1 else f"0,2-{last}" if last > 2 else "0,2"
        await _becomes(runtime, cluster, everybody)
        await cluster.client.delete(core.Pod, "alone", "default", grace_period_seconds=0)
        await _becomes(runtime, cluster, f"0-{last}")
        assert cluster.pod("shared").status.container_statuses[0].restart_count == 0  # type: ignore[union-attr]
        await cluster.client.delete(core.Pod, "shared", "default", grace_period_seconds=0)
        await cluster.until(lambda: not runtime.observed())


async def _becomes(runtime: Runtime, cluster: Cluster, expected: str) -> None:
    async with asyncio.timeout(20):
        while await allowed(runtime, cluster, "shared") != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

"""A machine that shuts down: pods end by priority, while the node says so and takes no others."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.objects.conditions import get_condition
from services.kubelet.node.machine import disk_trouble, is_mapped
from services.kubelet.node.shutdown import grace_seconds, machine_stops, stages
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import RUNNING, Container
from services.kubelet.settings import ShutdownPeriod
from services.kubelet.shutdown_flags import add_shutdown_flags, by_priority, shutdown_periods
from tests.kubelet.support import NODE, Cluster, make_pod, running
from tests.support.virtual_time import virtual_time

CIDR = "10.244.0.0/24"
PERIODS = (ShutdownPeriod(1000, 10.0), ShutdownPeriod(0, 20.0))


def of_priority(priority: int) -> core.Pod:
    return make_pod(f"p{priority}", priority=priority)


def test_stages() -> None:
    pods = [of_priority(priority) for priority in (1001, 5, -10, 1000)]
    found = [(stage.seconds, [pod.spec.priority for pod in stage.pods]) for stage in stages(pods, PERIODS)]
    assert found == [(20.0, [5, -10]), (10.0, [1001, 1000])]
    assert stages([], PERIODS) == []
    stage = stages(pods, PERIODS)[0]
    assert grace_seconds(pods[1], stage) == 20.0
    pods[1].spec.termination_grace_period_seconds = 3
    assert grace_seconds(pods[1], stage) == 3.0


def _flags(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_shutdown_flags(parser)
    return parser.parse_args(given)


def test_flags() -> None:
    assert shutdown_periods(_flags()) == ()
    both = shutdown_periods(_flags("--shutdown-grace-period=30s", "--shutdown-grace-period-critical-pods=10s"))
    assert both == (ShutdownPeriod(0, 20.0), ShutdownPeriod(2_000_000_000, 10.0))
    assert by_priority("0=30s,100=1m") == (ShutdownPeriod(0, 30.0), ShutdownPeriod(100, 60.0))
    for given in (
        ["--shutdown-grace-period-critical-pods=10s"],
        ["--shutdown-grace-period=1s", "--shutdown-grace-period-by-pod-priority=0=1s"],
    ):
        with pytest.raises(ValueError, match="--shutdown-grace-period"):
            shutdown_periods(_flags(*given))
    for text in ("x=1s", "1", "1=x", "1=1s,1=2s"):
        with pytest.raises(argparse.ArgumentTypeError):
            by_priority(text)


async def _pods(cluster: Cluster) -> None:
    await cluster.client.create(scheduling.PriorityClass(metadata=meta.ObjectMeta(name="high"), value=1000))
    await cluster.client.create(make_pod("p0"))
    await cluster.client.create(make_pod("p1000", priority_class_name="high"))
    for name in ("p0", "p1000"):
        await cluster.ready(name)


class WatchedRuntime(HollowRuntime):
    """Remembers whose containers it was told to stop, in order, and who ran then."""

    def __init__(self, cidr: str) -> None:
        super().__init__(cidr)
        self.stopped: list[tuple[str, list[str]]] = []

    async def stop_container(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        running = [found.ref.name for found in self.observed().values() if any(one.state == RUNNING for one in found.containers)]
        self.stopped.append((pod.name, sorted(running)))
        await super().stop_container(container, pod, grace_seconds)


@virtual_time
async def test_pods_end_by_priority(tmp_path: Path) -> None:
    runtime = WatchedRuntime(CIDR)
    async with running(runtime, tmp_path, shutdown_periods=PERIODS) as cluster:
        await _pods(cluster)
        cluster.kubelet.shutdown.begin()
        leaving = asyncio.create_task(cluster.kubelet.leave())
        await cluster.until(lambda: "node is shutting down" in _ready(cluster).message)
        assert _ready(cluster).status == "False" and _ready(cluster).reason == "KubeletNotReady"
        await cluster.client.create(make_pod("late"))
        late = await cluster.phase("Failed", "late")
        assert (late.status.reason, "Pod was rejected as the node is shutting down." in late.status.message) == ("NodeShutdown", True)
        async with asyncio.timeout(60):
            await leaving
        ends = []
        for name in ("p0", "p1000"):
            pod = cluster.pod(name)
            assert pod is not None
            assert (pod.status.phase, pod.status.reason) == ("Failed", "Terminated")
            assert pod.status.message == "Pod was terminated in response to imminent node shutdown."
            disrupted = get_condition(pod.status, "DisruptionTarget")
            assert disrupted is not None and (disrupted.status, disrupted.reason) == ("True", "TerminationByKubelet")
            ends.append(pod.status.container_statuses[0].state.terminated.finished_at.seconds)
        assert ends == sorted(ends)
        assert runtime.stopped == [("p0", ["p0", "p1000"]), ("p1000", ["p1000"])], "the important one not before the other has ended"
        assert cluster.events("NodeShutdown")
        cluster.kubelet.shutdown.begin()
        await cluster.kubelet.leave()


def _ready(cluster: Cluster) -> core.NodeCondition:
    (node,) = cluster.api.all(core.Node)
    found: core.NodeCondition | None = get_condition(node.status, "Ready")
    assert found is not None
    return found


@pytest.mark.parametrize("stops", [True, False])
async def test_a_kubelet_that_ends_asks_whether_the_machine_does(tmp_path: Path, stops: bool) -> None:
    async with running(HollowRuntime(CIDR), tmp_path, shutdown_periods=PERIODS) as cluster:

        async def asked() -> bool:
            return stops

        cluster.kubelet.shutdown._stops = asked
        await _pods(cluster)
        await cluster.kubelet.leave()
        pod = cluster.pod("p0")
        assert pod is not None and pod.status.phase == ("Failed" if stops else "Running")


async def test_without_periods_nothing_is_asked(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:

        async def asked() -> bool:
            raise AssertionError

        cluster.kubelet.shutdown._stops = asked
        await cluster.kubelet.leave()
        cluster.kubelet.shutdown.begin()
        assert not cluster.kubelet.shutdown.trouble


async def test_what_systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=None)
    assert not await machine_stops()
    for said, stops in (("stopping", True), ("running", False), ("degraded", False)):
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho {said}\nexit 1\n")
        (tmp_path / "systemctl").chmod(0o755)
        assert await machine_stops() is stops


async def test_a_node_that_is_deleted_is_registered_anew(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        before = await cluster.client.get(core.Node, NODE)
        await cluster.client.delete(core.Node, NODE)
        await cluster.until(lambda: any(node.metadata.uid != before.metadata.uid for node in cluster.api.all(core.Node)), 5.0)


async def test_what_the_status_says_of_the_machine(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        status = (await cluster.client.get(core.Node, NODE)).status
        assert status.node_info.HasField("running_in_user_namespace") and not status.node_info.kube_proxy_version
        assert status.features.HasField("supplemental_groups_policy")
        assert [handler.name for handler in status.runtime_handlers][:1] == [""]


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "yet" / "to be made"
    assert disk_trouble(folder) == ""
    asked = list[Path]()

    def read_only(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(f_flag=os.ST_RDONLY | os.ST_NOSUID)

    def broken(path: Path) -> SimpleNamespace:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "statvfs", read_only)
    assert disk_trouble(folder) == f"the kubelet's folder {folder} is on a file system that is read-only" and asked == [tmp_path]
    monkeypatch.setattr(os, "statvfs", broken)
    assert disk_trouble(folder) == f"the kubelet's folder {folder} cannot be looked at: input/output error"


def test_users_of_a_namespace() -> None:
    assert not is_mapped("         0          0 4294967295\n") and not is_mapped("")
    assert is_mapped("0 1000 1\n1 100000 65536\n")

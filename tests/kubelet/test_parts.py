"""What runs on a node without being a container of its engine: its mirror pods, their status, logs and ports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.machinery.errors import BadRequest
from knarr.objects.pods import MIRROR
from services.kubelet.parts.pods import part_pod, part_status
from services.kubelet.parts.port import Course, End, NodeParts, Part
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import LogOptions
from tests.kubelet.support import NODE, Cluster, condition, make_pod, running

CIDR = "10.244.0.0/24"
BEGAN = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
LATER = BEGAN + timedelta(minutes=5)
END = End(BEGAN, LATER, 3, "it broke")
NAME, POD = "kube-scheduler", f"kube-scheduler-{NODE}"


class Told:
    """A log that tells what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[LogOptions, datetime | None, datetime | None]] = []

    async def read(self, options: LogOptions, since: datetime | None, until: datetime | None) -> AsyncIterator[bytes]:
        self.asked.append((options, since, until))
        for line in (b"one\n", b"two\n"):
            yield line


async def _no_port(port: int) -> socket.socket:
    raise AssertionError(port)


class World:
    """A node with one part, whose course the test says."""

    def __init__(self) -> None:
        self.course = Course("7.70", 0, True, BEGAN)
        self.log, self.due = Told(), asyncio.Event()

    def part(self, **changes: Any) -> Part:
        made = Part(NAME, "image", (NAME, "--flag"), {"component": NAME, "tier": "control-plane"}, lambda: self.course, self.log, _no_port)
        return replace(made, way_out="look at `knarr logs scheduler`", **changes)

    def parts(self, **changes: Any) -> NodeParts:
        return NodeParts((self.part(**changes),), self.due.wait)


def container(pod: core.Pod | None) -> core.ContainerStatus:
    assert pod is not None
    (found,) = pod.status.container_statuses
    return found


async def restarted(cluster: Cluster, count: int) -> core.ContainerStatus:
    await cluster.until(
        lambda: (
            (p := cluster.pod(POD, "kube-system")) is not None
            and bool(p.status.container_statuses)
            and p.status.container_statuses[0].restart_count == count
        )
    )
    return container(cluster.pod(POD, "kube-system"))


async def shown(cluster: Cluster, ready: str = "True") -> core.Pod:
    await cluster.until(lambda: condition(cluster.pod(POD, "kube-system"), "Ready") == ready)
    found = cluster.pod(POD, "kube-system")
    assert found is not None
    return found


async def test_a_part_is_a_mirror_pod_once_it_is_due(tmp_path: Path) -> None:
    world, runtime = World(), HollowRuntime(CIDR)
    async with running(runtime, tmp_path, parts=world.parts()) as cluster:
        await cluster.client.create(make_pod("web"))
        await cluster.ready("web")
        assert cluster.pod(POD, "kube-system") is None
        world.due.set()
        pod = await shown(cluster)
        annotations = pod.metadata.annotations
        assert annotations[MIRROR] == annotations["kubernetes.io/config.hash"] and annotations["kubernetes.io/config.source"] == "process"
        (owner,) = pod.metadata.owner_references
        assert (owner.kind, owner.name, owner.controller) == ("Node", NODE, True)
        assert dict(pod.metadata.labels) == {"component": NAME, "tier": "control-plane"}
        assert pod.spec.host_network and pod.spec.priority_class_name == "system-node-critical" and pod.spec.priority == 2_000_001_000
        assert list(pod.spec.containers[0].command) == [NAME, "--flag"] and not pod.spec.containers[0].ports
        assert pod.status.phase == "Running" and pod.status.pod_ip == pod.status.host_ip == "192.0.2.10"
        assert container(pod).container_id == "process://7.70/kube-scheduler/0"
        # Nothing runs for it.
        assert [found.metadata.name for found in cluster.kubelet.manager.active()] == ["web"] and len(runtime.observed()) == 1


async def test_its_status_follows_it_through_failures_deletions_and_the_ends_of_its_process(tmp_path: Path) -> None:
    world, runtime = World(), HollowRuntime(CIDR)
    world.due.set()
    async with running(runtime, tmp_path, parts=world.parts()) as cluster:
        first = await shown(cluster)
        world.course = Course("7.70", 0, False, None, END)
        pod = await shown(cluster, "False")
        assert container(pod).state.waiting.reason == "CrashLoopBackOff" and container(pod).restart_count == 0
        world.course = Course("7.70", 1, True, LATER, END)
        pod = await shown(cluster)
        ended = container(pod).last_state.terminated
        assert (ended.exit_code, ended.reason, ended.message, container(pod).restart_count) == (3, "Error", "it broke", 1)
        await cluster.client.delete(core.Pod, POD, "kube-system")
        await cluster.until(lambda: (p := cluster.pod(POD, "kube-system")) is not None and p.metadata.uid != first.metadata.uid)
        assert container(await shown(cluster)).restart_count == 1, "what a mirror told is remembered"
        api = cluster.api
    world.course = Course("9.90", 0, True, LATER)
    async with running(runtime, tmp_path, api, parts=world.parts()) as cluster:
        found = await restarted(cluster, 2)
        assert (found.last_state.terminated.reason, found.last_state.terminated.exit_code) == ("Unknown", 255)
    # Where the node has no such part any more, nothing shows one.
    async with running(runtime, tmp_path, api) as cluster:
        await cluster.until(lambda: cluster.pod(POD, "kube-system") is None)


async def test_another_command_is_another_pod(tmp_path: Path) -> None:
    world = World()
    world.due.set()
    async with running(HollowRuntime(CIDR), tmp_path, parts=world.parts()) as cluster:
        before = await shown(cluster)
        api = cluster.api
    async with running(HollowRuntime(CIDR), tmp_path, api, parts=world.parts(command=(NAME,))) as cluster:
        await cluster.until(lambda: (p := cluster.pod(POD, "kube-system")) is not None and p.metadata.uid != before.metadata.uid)
        assert list((await shown(cluster)).spec.containers[0].command) == [NAME]


async def log_of(cluster: Cluster, **wanted: Any) -> bytes:
    ref = pb.ContainerRef(namespace="kube-system", pod=POD, container=wanted.pop("container", ""))
    return b"".join([found.data async for found in cluster.kubelet.servicer.Logs(pb.LogsRequest(container=ref, **wanted), None)])


async def test_its_log_is_the_parts_own_run_by_run(tmp_path: Path) -> None:
    world = World()
    world.due.set()
    async with running(HollowRuntime(CIDR), tmp_path, parts=world.parts()) as cluster:
        await shown(cluster)
        assert await log_of(cluster, tail_lines=5, timestamps=True) == b"one\ntwo\n"
        assert world.log.asked[-1] == (LogOptions(timestamps=True, tail_lines=5), BEGAN, None)
        assert await log_of(cluster, container=NAME, limit_bytes=5) == b"one\nt"
        with pytest.raises(BadRequest, match=f'previous terminated container "{NAME}" in pod "{POD}" not found'):
            await log_of(cluster, previous=True)
        with pytest.raises(BadRequest, match="container other is not valid"):
            await log_of(cluster, container="other")
        world.course = Course("7.70", 1, True, LATER, END)
        await log_of(cluster, previous=True)
        *_, (_, since, until) = world.log.asked
        assert (since, until) == (BEGAN, LATER)


async def test_there_is_nothing_to_enter_and_the_error_says_where_to_look(tmp_path: Path) -> None:
    world = World()
    async with running(HollowRuntime(CIDR), tmp_path, parts=world.parts()) as cluster:
        with pytest.raises(BadRequest, match=f"pod {POD} shows a part of the cluster's own process: .*; look at `knarr logs scheduler`"):
            cluster.kubelet.servicer.running_container(pb.ContainerRef(namespace="kube-system", pod=POD))


async def test_a_port_of_it_is_reached_where_it_listens(tmp_path: Path) -> None:
    world, ours, theirs = World(), *socket.socketpair()
    asked: list[int] = []

    async def dial(port: int) -> socket.socket:
        asked.append(port)
        return theirs

    with ours:
        async with running(HollowRuntime(CIDR), tmp_path, parts=world.parts(dial=dial)) as cluster:
            with await cluster.kubelet.servicer.dial(pb.PortForwardStart(namespace="kube-system", pod=POD, port=10259)) as found:
                assert found is theirs and asked == [10259]


async def test_somebodys_pod_of_that_name_is_left_alone(tmp_path: Path) -> None:
    world = World()
    world.due.set()
    async with running(HollowRuntime(CIDR), tmp_path, parts=world.parts()) as cluster:
        await shown(cluster)
        api = cluster.api
    theirs = part_pod(world.part(), NODE)
    theirs.metadata.annotations.clear()
    await api.client().delete(core.Pod, POD, "kube-system", grace_period_seconds=0)
    theirs.metadata.ClearField("uid")
    theirs.spec.ClearField("priority")
    made = await api.client().create(theirs)
    async with running(HollowRuntime(CIDR), tmp_path, api, parts=world.parts()) as cluster:
        await cluster.until(lambda: condition(cluster.pod(POD, "kube-system"), "Ready") == "True")
        found = cluster.pod(POD, "kube-system")
        assert found is not None and found.metadata.uid == made.metadata.uid
        assert container(found).container_id.startswith("hollow://")


def test_restarts_are_counted_over_processes_and_missed_looks() -> None:
    part, status = World().part(), core.PodStatus()
    for course, count in (
        (Course("1.1", 0, True, BEGAN), 0),
        (Course("1.1", 3, True, BEGAN, END), 3),
        (Course("2.2", 0, True, LATER), 4),
        (Course("3.3", 2, True, LATER, END), 7),
    ):
        status = part_status(part, course, status, "192.0.2.10", LATER)
        assert status.container_statuses[0].restart_count == count
    assert part_status(part, course, status, "192.0.2.10", LATER + timedelta(days=1)) == status, "nothing has changed"

"""A whole kubelet on a Docker engine."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from tests.kubelet.docker_support import docker
from tests.kubelet.support import make_pod, running

pytestmark = pytest.mark.docker


def busybox_pod(image: str, *command: str, name: str = "web", restart_policy: str = "Always") -> core.Pod:
    pod = make_pod(name, restart_policy=restart_policy)
    pod.spec.termination_grace_period_seconds = 1
    pod.spec.containers[0].image = image
    pod.spec.containers[0].command.extend(command or ("sleep", "1000"))
    return pod


async def test_runs_a_pod_and_deletes_it(tmp_path: Path) -> None:
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(busybox_pod(image))
        pod = await cluster.ready()
        assert pod.status.pod_ip.startswith("10.254.77.")
        assert pod.status.container_statuses[0].container_id.startswith("docker://")
        found = await cluster.until(lambda: [entry for entry in cluster.api.all(core.Node)[0].status.images if image in entry.names])
        assert found[0].size_bytes > 0
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: cluster.pod() is None)
        await cluster.until(lambda: not runtime.observed())


async def test_sees_a_killed_container_at_once_and_restarts_it(tmp_path: Path) -> None:
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(busybox_pod(image))
        pod = await cluster.ready()
        container = pod.status.container_statuses[0].container_id.removeprefix("docker://")
        killer = await asyncio.create_subprocess_exec("docker", "kill", container, stdout=asyncio.subprocess.DEVNULL)
        await killer.wait()
        await cluster.until(lambda: cluster.observed().containers[0].state == "exited", 1.0)  # type: ignore[union-attr]
        await cluster.until(lambda: (p := cluster.pod()) and p.status.container_statuses[0].restart_count == 1)
        status = (await cluster.ready()).status.container_statuses[0]
        assert status.last_state.terminated.exit_code == 128 + signal.SIGKILL


async def test_an_image_that_does_not_exist(tmp_path: Path) -> None:
    async with docker() as (runtime, _, _image), running(runtime, tmp_path) as cluster:
        pod = busybox_pod("localhost:1/missing:1")
        await cluster.client.create(pod)
        await cluster.until(lambda: _reason(cluster.pod()) == "ErrImagePull")
        await cluster.until(lambda: _reason(cluster.pod()) == "ImagePullBackOff")
        assert "localhost:1" in cluster.pod().status.container_statuses[0].state.waiting.message  # type: ignore[union-attr]


def _reason(pod: core.Pod | None) -> str:
    statuses = pod.status.container_statuses if pod is not None else []
    return statuses[0].state.waiting.reason if statuses else ""

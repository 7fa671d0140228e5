"""Answers of a real engine that are lost, and processes beneath it that are killed: a pod comes to be as it should, once."""

from __future__ import annotations

import os
import signal
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.port import EXITED, RUNNING
from tests.kubelet.docker_support import docker, unique_settings
from tests.kubelet.runtime.docker.engine_proxy import EngineProxy
from tests.kubelet.support import Cluster, make_pod, running

pytestmark = pytest.mark.docker
RANGE = "10.254.78.0/24"
CREATE, START = r"POST .*containers/create", r"POST .*/start "


def a_pod(image: str, name: str, policy: str, script: str, folder: Path) -> core.Pod:
    """Whose script sees a folder of the node at /data."""
    pod = make_pod(name, restart_policy=policy)
    pod.metadata.uid = str(uuid.uuid4())
    pod.spec.termination_grace_period_seconds = 1
    app = pod.spec.containers[0]
    app.image = image
    app.command.extend(["sh", "-c", script])
    pod.spec.volumes.add(name="data").volume_source.host_path.path = str(folder)
    app.volume_mounts.add(name="data", mount_path="/data")
    return pod


async def gone(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.until(lambda: not cluster.runtime.observed() and not cluster.kubelet.manager.workers)
    assert not list((tmp_path / "node" / "pods").iterdir())


async def test_what_the_engine_did_and_did_not_tell_is_done_once(tmp_path: Path) -> None:
    proxy = EngineProxy(tmp_path / "engine.sock")
    await proxy.restore()
    async with docker(replace(unique_settings(proxy.url), pod_cidr=RANGE)) as (runtime, _, image):
        async with running(runtime, tmp_path / "node") as cluster:
            folder = tmp_path / "data"
            folder.mkdir()
            # The first answers are those about the sandbox, the second those about the container.
            proxy.lose += [CREATE, CREATE, START, START]
            await cluster.client.create(a_pod(image, "job", "Never", "echo run >> /data/runs", folder))
            pod = await cluster.phase("Succeeded", "job")
            assert (folder / "runs").read_text() == "run\n"
            assert pod.status.container_statuses[0].restart_count == 0
            await cluster.client.delete(core.Pod, "job", "default", grace_period_seconds=0)
            await gone(cluster, tmp_path)
        assert sorted(proxy.lost) == sorted([CREATE, CREATE, START, START])
        await proxy.cut()


def _has_run_twice(runs: Path) -> bool:
    return runs.read_text() == "run\n" * 2


async def test_processes_beneath_the_engine_are_killed(tmp_path: Path) -> None:
    async with (
        docker(replace(unique_settings(), pod_cidr=RANGE)) as (runtime, settings, image),
        running(runtime, tmp_path / "node") as cluster,
    ):
        engine = Engine(settings.url, 60.0)
        try:
            names = ("container", "shim", "sandbox")
            for name in names:
                (tmp_path / name).mkdir()
                await cluster.client.create(a_pod(image, name, "Always", "echo run >> /data/runs; exec sleep 1000", tmp_path / name))
            before = {name: await _kill(cluster, engine, name) for name in names}
            for name in names:
                await cluster.until(partial(_runs_anew, cluster, name, before[name]))
                pod = await cluster.ready(name)
                # It is ready once it is started, before it has done anything.
                await cluster.until(partial(_has_run_twice, tmp_path / name / "runs"))
                assert pod.status.container_statuses[0].restart_count == 1
                _one_of_each(cluster, name)
            for name in names:
                await cluster.client.delete(core.Pod, name, "default", grace_period_seconds=0)
            await gone(cluster, tmp_path)
        finally:
            await engine.close()


async def _kill(cluster: Cluster, engine: Engine, whom: str) -> str:
    """A process beneath the pod of that name; answers the id of its container."""
    await cluster.ready(whom)
    seen = cluster.observed(whom)
    assert seen is not None and seen.sandbox is not None
    app = seen.latest("app")
    assert app is not None and app.state == RUNNING
    pid = await _pid(engine, seen.sandbox.id if whom == "sandbox" else app.id)
    os.kill(_parent(pid) if whom == "shim" else pid, signal.SIGKILL)
    return app.id


def _runs_anew(cluster: Cluster, name: str, before: str) -> bool:
    seen = cluster.observed(name)
    app = seen.latest("app") if seen is not None else None
    return app is not None and app.id != before and app.state == RUNNING


def _one_of_each(cluster: Cluster, name: str) -> None:
    seen = cluster.observed(name)
    assert seen is not None and [sandbox.ready for sandbox in seen.sandboxes] == [True]
    assert sorted(c.state for c in seen.containers) == [EXITED, RUNNING]


async def _pid(engine: Engine, container_id: str) -> int:
    return int((await engine.request("GET", f"containers/{container_id}/json"))["State"]["Pid"])


def _parent(pid: int) -> int:
    """That of a container's process is its shim."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert "shim" in Path(f"/proc/{parent}/cmdline").read_text()
    return parent

"""A kubelet that is killed, and an engine that goes away."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from dataclasses import asdict
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.docker import DockerRuntime
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.pause import PAUSE_IMAGE
from tests.kubelet.docker_support import docker, remove_image, unique_settings
from tests.kubelet.runtime.docker.adoptee import adopted_pod
from tests.kubelet.runtime.docker.engine_proxy import EngineProxy
from tests.kubelet.support import condition, running
from tests.support.api import FaultyApi

pytestmark = pytest.mark.docker


async def test_a_new_kubelet_adopts_what_a_killed_one_left(tmp_path: Path) -> None:
    async with docker() as (runtime, settings, image):
        uid = str(uuid.uuid4())
        arguments = [str(tmp_path), json.dumps(asdict(settings)), image, uid]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.kubelet.runtime.docker.adoptee", *arguments, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        async with asyncio.timeout(60):
            assert await child.stdout.readline() == b"ready\n"
        child.kill()
        await child.communicate()
        witness = DockerRuntime(settings)
        await witness.start()
        before = witness.observe(uid)
        await witness.close()
        assert before is not None and len(before.containers) == 1
        api = FaultyApi()
        api.seed(adopted_pod(image, uid))
        async with running(runtime, tmp_path, api) as cluster:
            pod = await cluster.ready("kept")
            after = runtime.observe(uid)
            assert after is not None
            assert [c.id for c in after.containers] == [c.id for c in before.containers]
            assert [s.id for s in after.sandboxes] == [s.id for s in before.sandboxes]
            assert pod.status.container_statuses[0].restart_count == 0
            assert pod.status.pod_ip == before.sandboxes[0].ip


async def test_containers_of_a_pod_that_is_gone_are_removed(tmp_path: Path) -> None:
    async with docker() as (runtime, settings, image):
        async with running(runtime, tmp_path) as cluster:
            pod = adopted_pod(image, str(uuid.uuid4()))
            await cluster.client.create(pod)
            await cluster.ready("kept")
        async with running(DockerRuntime(settings), tmp_path) as cluster:
            await cluster.until(lambda: not cluster.runtime.observed() and not cluster.kubelet.manager.workers)
        assert not list((tmp_path / "pods").iterdir())


async def test_the_engine_goes_away_and_comes_back(tmp_path: Path) -> None:
    proxy = EngineProxy(tmp_path / "engine.sock")
    await proxy.restore()
    async with docker(unique_settings(proxy.url)) as (runtime, _, image):
        async with running(runtime, tmp_path) as cluster:
            await cluster.client.create(adopted_pod(image, str(uuid.uuid4())))
            before = (await cluster.ready("kept")).status.container_statuses[0].container_id
            await proxy.cut()
            await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "Ready") == "False")
            ready = next(c for c in cluster.api.all(core.Node)[0].status.conditions if c.type == "Ready")
            assert "Docker daemon" in ready.message
            other = adopted_pod(image, str(uuid.uuid4()))
            other.metadata.name = "later"
            await cluster.client.create(other)
            await proxy.restore()
            await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "Ready") == "True")
            await cluster.ready("later")
            assert (await cluster.ready("kept")).status.container_statuses[0].container_id == before
        await proxy.cut()


async def test_a_sandbox_image_that_was_tidied_away_is_made_anew(tmp_path: Path) -> None:
    async with docker() as (runtime, settings, image), running(runtime, tmp_path) as cluster:
        engine = Engine(settings.url, 60.0)
        try:
            await remove_image(engine, PAUSE_IMAGE)
        finally:
            await engine.close()
        await cluster.client.create(adopted_pod(image, str(uuid.uuid4())))
        await cluster.ready("kept")
        assert cluster.events("FailedCreatePodSandBox") == []

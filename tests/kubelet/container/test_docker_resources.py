"""Memory and memory-backed volumes of real containers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from tests.kubelet.docker_support import docker
from tests.kubelet.pod.test_docker_pods import manifest
from tests.kubelet.support import running
from tests.support.ports import free_port

pytestmark = pytest.mark.docker

MANIFEST = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: IMAGE
    command: [sh, -c, "echo served > /cache/index.html; exec httpd -f -p 8080 -h /cache"]
    ports: [{containerPort: 8080, hostPort: PORT}]
    volumeMounts: [{name: cache, mountPath: /cache}]
  - name: greedy
    image: IMAGE
    command: [sh, -c, "x=xxxxxxxxxxxxxxxx; while true; do x=$x$x; done"]
    resources: {limits: {memory: 16Mi}}
  - name: parent
    image: IMAGE
    command: [sh, -c, "(x=xxxxxxxxxxxxxxxx; while true; do x=$x$x; done); exit 3"]
    resources: {limits: {memory: 16Mi}}
  volumes: [{name: cache, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
"""


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


async def test_a_memory_volume_and_the_oom_killer_and_no_port_of_the_engine(tmp_path: Path) -> None:
    port = free_port()
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(MANIFEST.replace("PORT", str(port)), image))
        await cluster.until(lambda: _ends(cluster.pod(), "greedy") == ("OOMKilled", 137))
        await cluster.until(lambda: _ends(cluster.pod(), "parent") == ("OOMKilled", 3))

        # Host ports are led by the proxy, which keeps the client's address: the engine must not listen.
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert f"{tmp_path}/pods" in mounts()
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: not cluster.kubelet.manager.workers)
        assert f"{tmp_path}/pods" not in mounts()


def _ends(pod: core.Pod | None, name: str) -> tuple[str, int]:
    """How a container of the pod ended last: reason and exit code."""
    found = [status for status in pod.status.container_statuses if status.name == name] if pod is not None else []
    ends = [state.terminated for status in found for state in (status.state, status.last_state) if state.HasField("terminated")]
    return (ends[0].reason, ends[0].exit_code) if ends else ("", 0)

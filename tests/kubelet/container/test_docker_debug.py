"""Real containers that are looked into while they run, and whose resources change meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.port import Container, Runtime
from tests.kubelet.docker_support import docker
from tests.kubelet.pod.test_docker_pods import manifest
from tests.kubelet.support import Cluster, running

pytestmark = pytest.mark.docker

MANIFEST = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: IMAGE
    command: [sleep, "4321"]
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 500m, memory: 32Mi}}
"""


def of(runtime: Runtime, cluster: Cluster, name: str) -> Container:
    pod = cluster.pod()
    assert pod is not None
    observation = runtime.observe(pod.metadata.uid)
    found = None if observation is None else observation.latest(name)
    assert found is not None
    return found


async def output(runtime: Runtime, container: Container, *command: str) -> str:
    session = await runtime.exec(container.id, command, stdin=False, tty=False)
    pieces = []
    while (found := await session.read()) is not None:
        pieces.append(found[1])
    await session.close()
    return b"".join(pieces).decode()


def debug_statuses(cluster: Cluster) -> dict[str, core.ContainerStatus]:
    pod = cluster.pod()
    return {} if pod is None else {status.name: status for status in pod.status.ephemeral_container_statuses}


async def debug(cluster: Cluster, name: str, image: str, *command: str, target: str = "") -> None:
    added = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": list(command), "targetContainerName": target}
    patch = {"spec": {"ephemeralContainers": [added]}}
    await cluster.client.patch(core.Pod, "web", "default", patch=patch, patch_type="strategic", subresource="ephemeralcontainers")


async def test_an_ephemeral_container_sees_the_processes_of_its_target(tmp_path: Path) -> None:
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(MANIFEST, image))
        await cluster.ready()
        await debug(cluster, "inside", image, "sleep", "1000", target="app")
        await debug(cluster, "beside", image, "sh", "-c", "exit 3")
        await cluster.until(lambda: (found := debug_statuses(cluster).get("inside")) is not None and found.state.HasField("running"))
        await cluster.until(lambda: (found := debug_statuses(cluster).get("beside")) is not None and found.state.terminated.exit_code == 3)
        command = ("sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/net/dev")
        seen = await output(runtime, of(runtime, cluster, "inside"), *command)
        assert seen.startswith("sleep 4321 ") and "eth0" in seen
        events = {event.involved_object.field_path for event in cluster.api.all(core.Event) if event.reason == "Started"}
        assert "spec.ephemeralContainers{inside}" in events
        pod = cluster.pod()
        assert pod is not None and pod.status.phase == "Running" and debug_statuses(cluster)["beside"].restart_count == 0
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: not cluster.kubelet.manager.workers)


async def test_a_container_gets_more_and_less_of_the_machine_while_it_runs(tmp_path: Path) -> None:
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(MANIFEST, image))
        await cluster.ready()
        before = of(runtime, cluster, "app")
        for cpu, memory in (("1", "64Mi"), ("500m", "24Mi")):
            patch = {"spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": cpu, "memory": memory}}}]}}
            await cluster.client.patch(core.Pod, "web", "default", patch=patch, patch_type="strategic", subresource="resize")

            def has(cpu: str = cpu, memory: str = memory) -> bool:
                pod = cluster.pod()
                limits = None if pod is None else pod.status.container_statuses[0].resources.limits
                return limits is not None and (limits["cpu"].string, limits["memory"].string) == (cpu, memory)

            await cluster.until(has)
            # What the kernel says, seen from inside: cgroup v1 or v2.
            files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
            said = await output(runtime, of(runtime, cluster, "app"), "sh", "-c", f"cat {files} 2>/dev/null || true")
            assert said.split() == [str(int(memory.removesuffix("Mi")) << 20)]
        after = of(runtime, cluster, "app")
        assert (after.id, after.attempt, after.started_at) == (before.id, 0, before.started_at)
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: not cluster.kubelet.manager.workers)

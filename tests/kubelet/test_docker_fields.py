"""Fields of a pod that are seen in its life rather than inside its containers, on a real engine: all of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.node.v1 import node_pb2 as node
from knarr.objects.conditions import get_condition
from services.kubelet.cgroups.hierarchy import MOUNTS, is_unified
from services.kubelet.runtime.docker.runtime import DockerRuntime
from tests.kubelet.docker_support import docker
from tests.kubelet.support import Cluster, condition, running
from tests.kubelet.test_docker_pods import manifest

pytestmark = pytest.mark.docker

GATE = "example.com/checked"


@dataclass
class Node:
    cluster: Cluster
    runtime: DockerRuntime
    image: str

    async def run(self, name: str, spec: str, **container: object) -> None:
        """Creates a pod of one container with these fields beside."""
        one = {"name": "app", "image": "IMAGE", "command": ["sleep", "1000"], **container}
        made = {"nodeName": "NODE", "terminationGracePeriodSeconds": 1, "containers": [one], **yaml.safe_load(spec)}
        await self.cluster.client.create(
            manifest(yaml.safe_dump({"metadata": {"name": name, "namespace": "default"}, "spec": made}), self.image)
        )

    async def until_waiting(self, name: str, reason: str) -> None:
        await self.cluster.until(lambda: self.status(name).state.waiting.reason == reason)

    def status(self, name: str) -> core.ContainerStatus:
        pod = self.cluster.pod(name)
        return pod.status.container_statuses[0] if pod is not None and pod.status.container_statuses else core.ContainerStatus()


@asynccontextmanager
async def a_node(folder: Path, **changes: Any) -> AsyncIterator[Node]:
    async with docker() as (runtime, _, image), running(runtime, folder, **changes) as cluster:
        yield Node(cluster, runtime, image)
        for pod in cluster.api.all(core.Pod):
            await cluster.client.delete(core.Pod, pod.metadata.name, "default", grace_period_seconds=0)
        await cluster.until(lambda: not runtime.observed() and not cluster.kubelet.manager.workers)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


async def test_how_pods_end_and_what_is_told_of_it(tmp_path: Path) -> None:
    async with a_node(tmp_path) as found:
        cluster, once = found.cluster, "{restartPolicy: Never}"
        await found.run("deadline", "{restartPolicy: Never, activeDeadlineSeconds: 1}")
        fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        await found.run("words", once, command=shell("echo first; echo last words; exit 3"), **fallback)
        await found.run("quiet", once, command=shell("echo nothing to tell"), **fallback)
        probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1}
        stubborn = shell("trap '' TERM; while true; do sleep 0.1; done")
        await found.run("probed", "{terminationGracePeriodSeconds: 600}", command=stubborn, livenessProbe=probe)
        await found.run("typed", once, command=["cat"], stdin=True, stdinOnce=True)

        failed = await cluster.phase("Failed", "deadline")
        assert failed.status.reason == "DeadlineExceeded"
        ended = (await cluster.phase("Failed", "words")).status.container_statuses[0].state.terminated
        assert (ended.exit_code, ended.message) == (3, "first\nlast words\n")
        assert (await cluster.phase("Succeeded", "quiet")).status.container_statuses[0].state.terminated.message == ""
        await cluster.until(lambda: found.status("probed").restart_count)
        assert found.status("probed").last_state.terminated.exit_code == 137, "killed after the probe's grace, not the pod's"

        await cluster.ready("typed")
        container = found.status("typed").container_id.partition("://")[2]
        async with await found.runtime.attach(container, stdin=True, tty=False) as session:
            await session.write(b"typed\n")
            assert await session.read() == (1, b"typed\n")
            await session.close_stdin()
            await cluster.phase("Succeeded", "typed")


async def test_a_link_in_a_volume_leads_nowhere_else(tmp_path: Path) -> None:
    async with a_node(tmp_path) as found:
        (tmp_path / "secret").mkdir()
        (tmp_path / "secret" / "key").write_text("not for pods")
        link = f"ln -s {tmp_path / 'secret'} /v/out; ln -s ../../../../../../../etc /v/up; mkdir /v/in; ln -s in /v/within"
        spec = {
            "initContainers": [
                {"name": "first", "image": "IMAGE", "command": shell(f"busybox {link.replace('; ', '; busybox ')}"), **mounted("")}
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }
        for path in ("out", "up/passwd", "within"):
            await found.run(f"to-{path.partition('/')[0]}", yaml.safe_dump(spec), **mounted(path))
        for name in ("to-out", "to-up"):
            await found.until_waiting(name, "CreateContainerConfigError")
            assert found.status(name).state.waiting.message.endswith("for /v: it leads out of the volume")
            assert not found.status(name).container_id
        await found.cluster.ready("to-within")


def mounted(path: str) -> dict[str, object]:
    return {"volumeMounts": [{"name": "v", "mountPath": "/v", **({"subPath": path} if path else {})}]}


async def test_a_pod_is_ready_when_others_say_so_too(tmp_path: Path) -> None:
    async with a_node(tmp_path) as found:
        cluster = found.cluster
        await found.run("gated", f"{{readinessGates: [{{conditionType: {GATE}}}]}}")
        await cluster.until(lambda: condition(cluster.pod("gated"), "ContainersReady") == "True")
        told = get_condition(cluster.pod("gated").status, "Ready")  # type: ignore[union-attr]
        assert told is not None and (told.status, told.reason) == ("False", "ReadinessGatesNotReady")
        assert told.message == f'corresponding condition of pod readiness gate "{GATE}" does not exist.'
        await say(cluster, "False")
        words = f'the status of pod readiness gate "{GATE}" is not "True", but False'
        await cluster.until(lambda: get_condition(cluster.pod("gated").status, "Ready").message == words)  # type: ignore[union-attr]
        await say(cluster, "True")
        await cluster.ready("gated")


async def say(cluster: Cluster, status: str) -> None:
    patch = {"status": {"conditions": [{"type": GATE, "status": status}]}}
    await cluster.client.patch(core.Pod, "gated", "default", patch=patch, patch_type="strategic", subresource="status")


async def test_a_pod_is_held_as_a_whole_and_with_its_overhead(tmp_path: Path) -> None:
    async with a_node(tmp_path) as found:
        light = node.RuntimeClass(handler="runc")
        light.metadata.name = "light"
        light.overhead.pod_fixed["memory"].string, light.overhead.pod_fixed["cpu"].string = "8Mi", "50m"
        await found.cluster.client.create(light)
        limits = {"resources": {"limits": {"memory": "32Mi", "cpu": "100m"}}}
        await found.run("over", "{runtimeClassName: light}", **limits)
        await found.run("whole", "{resources: {limits: {memory: 64Mi, cpu: 500m}, requests: {memory: 32Mi}}}")
        await found.run("none", "{}")
        for name, memory, quota in (("over", 40 << 20, 15_000), ("whole", 64 << 20, 50_000), ("none", 0, 0)):
            pod = await found.cluster.ready(name)
            group = found.cluster.kubelet.context.groups.parent(pod)
            assert await asyncio.to_thread(held, group) == (memory, quota), name
        sandbox = found.runtime.observe(found.cluster.pod("over").metadata.uid).sandbox  # type: ignore[union-attr]
        assert sandbox is not None and sandbox.handler == "runc"


async def test_a_pod_has_no_more_processes_than_its_node_lets_it(tmp_path: Path) -> None:
    async with a_node(tmp_path, pod_max_pids=20) as found:
        script = "for n in $(busybox seq 40); do sleep 100 & done; wait"
        await found.run("many", "{restartPolicy: Never}", command=shell(script))
        ended = (await found.cluster.phase("Failed", "many")).status.container_statuses[0].state.terminated
        assert ended.exit_code != 0, "it could not make another one"


def held(group: str) -> tuple[int, int]:
    """To how many bytes, and how much of each 100 ms, the kernel holds a group; 0: to nothing."""
    if is_unified():
        memory, quota = (MOUNTS / group[1:] / "memory.max").read_text(), (MOUNTS / group[1:] / "cpu.max").read_text().split()[0]
    else:
        memory = (MOUNTS / "memory" / group[1:] / "memory.limit_in_bytes").read_text()
        quota = (MOUNTS / "cpu" / group[1:] / "cpu.cfs_quota_us").read_text()
    most = 0 if memory.strip() == "max" else int(memory)
    return (0 if most > 1 << 60 else most), max(0 if quota == "max" else int(quota), 0)

"""What the kubelet's tests share: pods, a kubelet on a hollow runtime, waiting for a condition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.clock import SYSTEM_CLOCK, Clock
from services.kubelet.component import Kubelet
from services.kubelet.node.view import NodeView
from services.kubelet.parts.port import NO_PARTS, NodeParts
from services.kubelet.pod.contents import Content
from services.kubelet.pod.references import References
from services.kubelet.pod.volumes import content_of
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import PodObservation, Runtime, Session
from services.kubelet.settings import KubeletSettings
from tests.support.api import FaultyApi, FaultyClient
from tests.support.rights import kubelet as kubelet_of

NODE = "node-1"
WAIT_SECONDS = 20.0


def make_pod(name: str = "web", *containers: str, namespace: str = "default", restart_policy: str = "Always", **spec: Any) -> core.Pod:
    """A pod bound to the node; each container named runs the image ``app:1``."""
    pod = core.Pod()
    pod.metadata.name, pod.metadata.namespace = name, namespace
    pod.spec.MergeFrom(core.PodSpec(node_name=NODE, restart_policy=restart_policy, termination_grace_period_seconds=30, **spec))
    for container in containers or ("app",):
        pod.spec.containers.add(name=container, image="app:1", image_pull_policy="IfNotPresent")
    return pod


def contents(pod: core.Pod, references: References, node: NodeView, pod_ip: str = "") -> dict[str, Content]:
    """What belongs into each of the pod's volumes, by name."""
    return {volume.name: content_of(pod, volume, references, node, pod_ip) for volume in pod.spec.volumes}


@dataclass
class Cluster:
    """A kubelet that runs, and the API it follows."""

    api: FaultyApi
    client: FaultyClient
    kubelet: Kubelet
    runtime: Any

    def pod(self, name: str = "web", namespace: str = "default") -> core.Pod | None:
        return next((p for p in self.api.all(core.Pod) if (p.metadata.namespace, p.metadata.name) == (namespace, name)), None)

    def events(self, reason: str) -> list[str]:
        return [event.message for event in self.api.all(core.Event) if event.reason == reason]

    def observed(self, name: str = "web") -> PodObservation | None:
        pod = self.pod(name)
        return self.runtime.observe(pod.metadata.uid) if pod is not None else None

    async def until(self, condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
        return await until(condition, seconds, lambda: str(self.api.all(core.Pod)))

    async def phase(self, phase: str, name: str = "web") -> core.Pod:
        await self.until(lambda: (p := self.pod(name)) is not None and p.status.phase == phase)
        found = self.pod(name)
        assert found is not None
        return found

    async def ready(self, name: str = "web") -> core.Pod:
        await self.until(lambda: condition(self.pod(name), "Ready") == "True")
        found = self.pod(name)
        assert found is not None
        return found


def condition(obj: Any, kind: str) -> str:
    return next((c.status for c in obj.status.conditions if c.type == kind), "") if obj is not None else ""


async def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS, describe: Callable[[], str] = str) -> Any:
    """Waits for a condition; on time-out the state is told."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := condition()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            return found
    except TimeoutError:
        raise AssertionError(f"did not come true in {seconds} s: {describe()}") from None


def settings(data_dir: Path, **changes: Any) -> KubeletSettings:
    return KubeletSettings(**{"node_name": NODE, "data_dir": data_dir, "node_ip": "192.0.2.10", **changes})


class FiledRuntime(HollowRuntime):
    """One whose containers see files, for whoever looks at what a kubelet lays for them."""

    mounts_files: ClassVar[bool] = True


@asynccontextmanager
async def running(
    runtime: Runtime,
    data_dir: Path,
    api: FaultyApi | None = None,
    clock: Clock = SYSTEM_CLOCK,
    *,
    wait: bool = True,
    parts: NodeParts = NO_PARTS,
    **changes: Any,
) -> AsyncIterator[Cluster]:
    """A kubelet until the end of the block; it is ready at its begin unless told not to wait."""
    api = api or FaultyApi(clock)
    client = api.client()
    # What it makes on the machine bears the name by which it is removed.
    if cluster_id := getattr(getattr(runtime, "_settings", None), "cluster_id", ""):
        changes.setdefault("cluster_id", cluster_id)
    kubelet = Kubelet(api.client(kubelet_of(changes.get("node_name", NODE))), settings(data_dir, **changes), runtime, clock, parts=parts)
    task = asyncio.create_task(kubelet.run())
    cluster = Cluster(api, client, kubelet, runtime)
    try:
        await until(lambda: not wait or kubelet.ready or task.done())
        yield cluster
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def output_of(session: Session) -> dict[int, bytes]:
    """All that a process says until it ends, by stream."""
    found = {1: b"", 2: b""}
    while (piece := await session.read()) is not None:
        found[piece[0]] += piece[1]
    return found

"""Waves of pods of many kinds, each of which is brought to where it is to be, struck by what may befall it, and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import NotFound
from services.kubelet.runtime.docker.engine import Engine, EngineError
from services.kubelet.runtime.port import LogOptions, RuntimeFailure
from tests.kubelet.support import Cluster, condition, make_pod, until

SECONDS = 120.0
CONFIG, SECRET = "soak-config", "soak-secret"


@dataclass(frozen=True, slots=True)
class Wave:
    """Where pods run, and by which image; ``strike`` ends a container or sandbox of the engine by its id, without asking."""

    cluster: Cluster
    image: str
    strike: Callable[[str], Awaitable[None]]

    def pod(self, name: str, *command: str, restart_policy: str = "Always") -> core.Pod:
        pod = make_pod(name, restart_policy=restart_policy)
        pod.spec.termination_grace_period_seconds = 1
        pod.spec.containers[0].image = self.image
        pod.spec.containers[0].command.extend(command or ("sleep", "100000"))
        return pod

    async def ready(self, name: str, restarts: int = 0) -> core.Pod:
        """A pod that is ready, and was started again so often."""

        def found() -> core.Pod | None:
            pod = self.cluster.pod(name)
            if pod is None or condition(pod, "Ready") != "True":
                return None
            return pod if sum(status.restart_count for status in pod.status.container_statuses) >= restarts else None

        return await self.until(name, found)

    async def until(self, name: str, found: Callable[[], core.Pod | None]) -> core.Pod:
        pod: core.Pod = await until(found, SECONDS, lambda: f"the pod {name} did not come there: {self.cluster.pod(name)}")
        return pod


Kind = Callable[[Wave, str], Awaitable[None]]


async def _runs(wave: Wave, name: str) -> None:
    await wave.cluster.client.create(wave.pod(name))
    await wave.ready(name)


async def _ends(wave: Wave, name: str) -> None:
    await wave.cluster.client.create(wave.pod(name, "true", restart_policy="Never"))
    await wave.until(name, lambda: pod if (pod := wave.cluster.pod(name)) and pod.status.phase == "Succeeded" else None)


async def _crashes(wave: Wave, name: str) -> None:
    await wave.cluster.client.create(wave.pod(name, "sh", "-c", "exit 3"))
    await wave.until(name, lambda: pod if (pod := wave.cluster.pod(name)) and _waits(pod) == "CrashLoopBackOff" else None)


def _waits(pod: core.Pod) -> str:
    return next((status.state.waiting.reason for status in pod.status.container_statuses), "")


async def _has_volumes(wave: Wave, name: str) -> None:
    pod = wave.pod(name)
    pod.spec.volumes.add(name="disk").volume_source.empty_dir.SetInParent()
    pod.spec.volumes.add(name="memory").volume_source.empty_dir.medium = "Memory"
    pod.spec.volumes.add(name="config").volume_source.config_map.local_object_reference.name = CONFIG
    pod.spec.volumes.add(name="secret").volume_source.secret.secret_name = SECRET
    for volume in pod.spec.volumes:
        pod.spec.containers[0].volume_mounts.add(name=volume.name, mount_path=f"/mnt/{volume.name}")
    pod.spec.containers[0].volume_mounts.add(name="disk", mount_path="/mnt/part", sub_path="a/part")
    await wave.cluster.client.create(pod)
    await wave.ready(name)


async def _is_initialized(wave: Wave, name: str) -> None:
    pod = wave.pod(name)
    first, beside = (
        pod.spec.init_containers.add(name="first", image=wave.image),
        pod.spec.init_containers.add(name="beside", image=wave.image),
    )
    first.command.append("true")
    beside.command.extend(("sleep", "100000"))
    beside.restart_policy = "Always"
    await wave.cluster.client.create(pod)
    await wave.ready(name)


async def _is_probed(wave: Wave, name: str) -> None:
    pod = wave.pod(name)
    probe = pod.spec.containers[0].readiness_probe
    probe.handler.exec.command.append("true")
    probe.period_seconds = 1
    await wave.cluster.client.create(pod)
    await wave.ready(name)


async def _has_no_image(wave: Wave, name: str) -> None:
    pod = wave.pod(name)
    pod.spec.containers[0].image, pod.spec.containers[0].image_pull_policy = "localhost:1/missing:1", "Never"
    await wave.cluster.client.create(pod)
    await wave.until(name, lambda: pod if (pod := wave.cluster.pod(name)) and _waits(pod) == "ErrImageNeverPull" else None)


async def _is_killed(wave: Wave, name: str) -> None:
    await wave.cluster.client.create(wave.pod(name))
    pod = await wave.ready(name)
    await wave.strike(pod.status.container_statuses[0].container_id.rpartition("://")[2])
    await wave.ready(name, restarts=1)


async def _loses_its_sandbox(wave: Wave, name: str) -> None:
    await wave.cluster.client.create(wave.pod(name))
    await wave.ready(name)
    observed = wave.cluster.observed(name)
    assert observed is not None and observed.sandbox is not None
    await wave.strike(observed.sandbox.id)
    await wave.ready(name, restarts=1)


async def _is_deleted_at_once(wave: Wave, name: str) -> None:
    """At whatever its start has come to by then, which differs with the name."""
    await wave.cluster.client.create(wave.pod(name))
    await asyncio.sleep(0.03 * (sum(name.encode()) % 20))


async def _is_talked_to(wave: Wave, name: str) -> None:
    """Commands and a reader of its log that are dropped in the middle."""
    await wave.cluster.client.create(wave.pod(name, "sh", "-c", "echo begun; exec sleep 100000"))
    container = (await wave.ready(name)).status.container_statuses[0].container_id.rpartition("://")[2]
    for _ in range(3):
        session = await wave.cluster.runtime.exec(container, ("sleep", "1000"), stdin=True, tty=False)
        await session.close()
    async with aclosing(wave.cluster.runtime.logs(container, LogOptions(follow=True))) as pieces:
        async for piece in pieces:
            assert b"begun" in piece
            break


# Kinds that any runtime has, and those that need an engine.
SIMPLE: tuple[Kind, ...] = (_runs, _ends, _crashes, _has_volumes, _is_initialized, _is_probed, _is_deleted_at_once)
REAL: tuple[Kind, ...] = (*SIMPLE, _has_no_image, _is_killed, _loses_its_sandbox, _is_talked_to)


async def prepare(cluster: Cluster) -> None:
    """What the pods refer to."""
    config, secret = core.ConfigMap(data={"key": "value"}), core.Secret(data={"key": b"value"})
    config.metadata.name, secret.metadata.name = CONFIG, SECRET
    config.metadata.namespace = secret.metadata.namespace = "default"
    await cluster.client.create(config)
    await cluster.client.create(secret)


async def play(wave: Wave, number: int, pods: int, kinds: Sequence[Kind]) -> None:
    """One wave from its pods' creation to the end of their last trace in the API and with the kubelet."""
    named = {f"wave-{number}-{place}": kinds[(number + place) % len(kinds)] for place in range(pods)}
    await asyncio.gather(*(kind(wave, name) for name, kind in named.items()))
    await asyncio.gather(*(_delete(wave, name) for name in named))
    cluster = wave.cluster
    try:
        await cluster.until(
            lambda: not (cluster.api.all(core.Pod) or cluster.runtime.observed() or cluster.kubelet.manager.workers), SECONDS
        )
    except AssertionError as error:
        workers = {worker.pod.metadata.name: worker.activity for worker in cluster.kubelet.manager.workers.values()}
        raise AssertionError(f"pods of wave {number} do not go: {workers or cluster.runtime.observed()}") from error


async def _delete(wave: Wave, name: str) -> None:
    try:
        await wave.cluster.client.delete(core.Pod, name, "default")
    except NotFound:
        return


async def forget(cluster: Cluster) -> None:
    """Takes away what the API keeps of pods that are gone, so that memory tells of the kubelet."""
    for event in cluster.api.all(core.Event):
        await _ignoring(cluster.client.delete(core.Event, event.metadata.name, event.metadata.namespace))
    cluster.api.writes.clear()
    cluster.api.compact()


async def _ignoring(call: Awaitable[None]) -> None:
    try:
        await call
    except NotFound:
        return


def engine_strike(engine: Engine) -> Callable[[str], Awaitable[None]]:
    """SIGKILL for a container of the engine."""

    async def strike(container_id: str) -> None:
        try:
            await engine.request("POST", f"containers/{container_id}/kill", params={"signal": "KILL"})
        except EngineError as error:
            raise RuntimeFailure(str(error)) from error

    return strike

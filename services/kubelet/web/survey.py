"""What a node and its pods use, at one moment, for all that tell of it.

Several scrapers ask at about the same time, each for its own page: what was seen is good for some seconds, and who comes while the
engine is being asked waits for that answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.clock import Clock
from services.kubelet.node.machine_use import DiskUse, MachineUse, read_disk_use, read_machine_use
from services.kubelet.node.stats import Stats, read_use
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import RUNNING, Container, PodObservation, Runtime, Sandbox
from services.kubelet.runtime.usage import Usage
from services.kubelet.worker.manager import PodManager

FRESH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ContainerSurvey:
    """A container that runs; ``nanocores`` None where no rate is known, or none was asked for."""

    container: Container
    usage: Usage
    nanocores: int | None = None


@dataclass(frozen=True, slots=True)
class PodSurvey:
    """``sandbox_usage`` None where the engine does not tell of it."""

    pod: core.Pod
    ref: PodRef
    sandbox: Sandbox | None
    sandbox_usage: Usage | None
    containers: tuple[ContainerSurvey, ...]

    @property
    def usages(self) -> list[Usage]:
        """Those of all its containers, the sandbox among them."""
        return [*(found.usage for found in self.containers), *([self.sandbox_usage] if self.sandbox_usage is not None else [])]


@dataclass(frozen=True, slots=True)
class NodeSurvey:
    """At ``time``. ``disk`` is the one that the kubelet's folder lies on."""

    time: datetime
    cpu_nanoseconds: int
    memory_bytes: int
    machine: MachineUse
    disk: DiskUse | None
    pods: tuple[PodSurvey, ...]
    nanocores: int | None = None


class Surveyor:
    """Of one node."""

    def __init__(self, runtime: Runtime, stats: Stats, manager: PodManager, data_dir: Path, clock: Clock) -> None:
        self._runtime, self._stats, self._manager, self._data_dir, self._clock = runtime, stats, manager, data_dir, clock
        self._known: tuple[float, asyncio.Task[NodeSurvey]] | None = None

    async def now(self) -> NodeSurvey:
        """Without rates. Raises RuntimeFailure where the engine does not answer."""
        moment = asyncio.get_running_loop().time()
        if self._known is not None:
            until, asking = self._known
            if moment < until and not (asking.done() and (asking.cancelled() or asking.exception() is not None)):
                return await asyncio.shield(asking)
        asking = asyncio.create_task(self._look(), name="survey")
        self._known = moment + FRESH_SECONDS, asking
        return await asyncio.shield(asking)

    async def with_rates(self) -> NodeSurvey:
        """Who asks first after a while waits a second. Raises RuntimeFailure."""
        rates = await self._stats.current()
        found = await self.now()
        pods = tuple(
            replace(
                pod,
                containers=tuple(
                    replace(one, nanocores=rate.nanocores) if (rate := rates.get((pod.ref, one.container.name))) is not None else one
                    for one in pod.containers
                ),
            )
            for pod in found.pods
        )
        return replace(found, pods=pods, nanocores=rates[None].nanocores if None in rates else None)

    async def _look(self) -> NodeSurvey:
        usages, sandboxes = await asyncio.gather(self._runtime.usage(), self._runtime.sandbox_usage())
        workers = {uid: worker.pod for uid, worker in self._manager.workers.items()}
        pods = surveyed(workers, self._runtime.observed(), usages, sandboxes)
        if self._runtime.uses_machine:
            (cpu, memory), machine = read_use(), read_machine_use()
            disk = await asyncio.to_thread(_disk, self._data_dir)
        else:
            cpu, memory = sum(usage.cpu_nanoseconds for usage in usages), sum(usage.memory_bytes for usage in usages)
            machine, disk = MachineUse(), None
        return NodeSurvey(self._clock.now(), cpu, memory, machine, disk, pods)


def surveyed(
    pods: Mapping[str, core.Pod], observed: Mapping[str, PodObservation], usages: Sequence[Usage], sandboxes: Sequence[Usage]
) -> tuple[PodSurvey, ...]:
    """What is told of use, with what it is the use of. Pure."""
    used = {(usage.pod.uid, usage.container): usage for usage in usages}
    of_sandboxes = {usage.pod.uid: usage for usage in sandboxes}
    found = []
    for uid, pod in pods.items():
        observation = observed.get(uid)
        if observation is None:
            continue
        running = [container for container in observation.containers if container.state == RUNNING]
        containers = tuple(ContainerSurvey(container, used[uid, container.name]) for container in running if (uid, container.name) in used)
        if containers or uid in of_sandboxes:
            found.append(PodSurvey(pod, observation.ref, observation.sandbox, of_sandboxes.get(uid), containers))
    return tuple(found)


def _disk(folder: Path) -> DiskUse | None:
    try:
        return read_disk_use(folder)
    except OSError:
        return None

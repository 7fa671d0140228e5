"""A runtime over an engine: parts that know the engine do the work, and what is asked of the runtime goes to one of them."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from services.kubelet.runtime.network_checks import check_network
from services.kubelet.runtime.observations import Observations
from services.kubelet.runtime.plan import ContainerPlan, Limits, PodRef, SandboxPlan
from services.kubelet.runtime.port import (
    Check,
    Container,
    ExecCheck,
    Image,
    LocalImage,
    LogOptions,
    PodObservation,
    ProbeResult,
    Runtime,
    RuntimeFailure,
    Sandbox,
    Session,
)


class Observer(Protocol):
    """What is known of the engine, and what ails it: ``trouble``, or nothing."""

    observations: Observations
    trouble: str

    def set_trouble(self, words: str) -> None: ...


class Images(Protocol):
    async def get(self, reference: str) -> Image: ...
    async def all(self) -> list[LocalImage]: ...
    async def pull(self, reference: str, auth: Mapping[str, str] | None) -> Image: ...
    async def remove(self, reference: str) -> None: ...


class Sandboxes(Protocol):
    async def create(self, plan: SandboxPlan) -> Sandbox: ...
    async def remove(self, sandbox: Sandbox) -> None: ...


class Containers(Protocol):
    async def create(self, plan: ContainerPlan) -> Container: ...
    async def start(self, container: Container, pod: PodRef) -> None: ...
    async def update(self, container: Container, pod: PodRef, limits: Limits) -> None: ...
    async def pin(self, container: Container, pod: PodRef, cpuset: str) -> None: ...
    async def stop(self, container: Container, pod: PodRef, grace_seconds: float) -> None: ...
    async def remove(self, container: Container, pod: PodRef) -> None: ...


class Processes(Protocol):
    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session: ...
    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session: ...
    async def check(self, container_id: str, check: ExecCheck, timeout_seconds: float) -> ProbeResult: ...


class Logs(Protocol):
    def read(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]: ...


class EngineRuntime(Runtime):
    """Who inherits from it makes the parts. How they answer, and what they raise, is said by ``Runtime``."""

    _observer: Observer
    _images: Images
    _sandboxes: Sandboxes
    _containers: Containers
    _processes: Processes
    _logs: Logs

    def __init__(self) -> None:
        self._started = asyncio.Event()

    async def start(self) -> None:
        try:
            await self._start()
        except RuntimeFailure as error:
            self._observer.set_trouble(str(error))
            raise
        self._started.set()
        self._observer.set_trouble("")

    @abc.abstractmethod
    async def _start(self) -> None:
        """Reads what the engine is and holds, and makes what all pods need. Raises RuntimeFailure."""

    @property
    def trouble(self) -> str:
        return self._observer.trouble

    def observe(self, uid: str) -> PodObservation | None:
        return self._observer.observations.get(uid)

    def observed(self) -> Mapping[str, PodObservation]:
        return self._observer.observations.pods

    def on_change(self, callback: Callable[[str], None]) -> None:
        self._observer.observations.on_change(callback)

    async def create_sandbox(self, plan: SandboxPlan) -> Sandbox:
        await self._check_handler(plan.handler)
        return await self._sandboxes.create(plan)

    @abc.abstractmethod
    async def _check_handler(self, handler: str) -> None:
        """Raises NoSuchHandler for one that the engine does not have, also where it is asked again."""

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        await self._sandboxes.remove(sandbox)

    async def image(self, reference: str) -> Image:
        return await self._images.get(reference)

    async def images(self) -> list[LocalImage]:
        return await self._images.all()

    async def pull(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        return await self._images.pull(reference, auth)

    async def remove_image(self, reference: str) -> None:
        await self._images.remove(reference)

    async def create_container(self, plan: ContainerPlan) -> Container:
        return await self._containers.create(plan)

    async def start_container(self, container: Container, pod: PodRef) -> None:
        await self._containers.start(container, pod)

    async def update_container(self, container: Container, pod: PodRef, limits: Limits) -> None:
        await self._containers.update(container, pod, limits)

    async def pin_container(self, container: Container, pod: PodRef, cpuset: str) -> None:
        await self._containers.pin(container, pod, cpuset)

    async def stop_container(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        await self._containers.stop(container, pod, grace_seconds)

    async def remove_container(self, container: Container, pod: PodRef) -> None:
        await self._containers.remove(container, pod)

    def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        return self._logs.read(container_id, options)

    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        return await self._processes.exec(container_id, command, stdin=stdin, tty=tty)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        return await self._processes.attach(container_id, stdin=stdin, tty=tty)

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        if isinstance(check, ExecCheck):
            return await self._processes.check(container_id, check, timeout_seconds)
        return await check_network(check, timeout_seconds)

"""The hollow runtime: no containers, only their states. For simulated nodes and quick tests.

Containers start after a delay and run until told to stop, or until their command would have ended (``hollow_process.py``). ``exit`` ends
one as if its process had ended; ``fail_start`` and ``missing_images`` make failures. Its probes succeed unless told otherwise.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.objects.images import full_name
from services.kubelet.runtime.addresses import PodAddresses
from services.kubelet.runtime.hollow_process import fate_of
from services.kubelet.runtime.observations import Observations
from services.kubelet.runtime.plan import ContainerPlan, Limits, PodRef, SandboxPlan
from services.kubelet.runtime.port import (
    CREATED,
    EXITED,
    RUNNING,
    START_FAILED_EXIT_CODE,
    STDERR,
    Check,
    Container,
    ExecCheck,
    Image,
    LocalImage,
    LogOptions,
    NoSuchContainer,
    NoSuchHandler,
    NoSuchImage,
    PodObservation,
    ProbeResult,
    Runtime,
    RuntimeFailure,
    RuntimeUnavailable,
    Sandbox,
    Session,
)
from services.kubelet.runtime.usage import Usage

KILLED_EXIT_CODE = 137
TERMINATED_EXIT_CODE = 143


@dataclass(frozen=True, slots=True)
class HollowSettings:
    """Delays in seconds. ``cpu_milli`` and ``memory_bytes`` are what each container seems to use."""

    sandbox_seconds: float = 0.0
    start_seconds: float = 0.0
    stop_seconds: float = 0.0
    pull_seconds: float = 0.0
    cpu_milli: int = 1
    memory_bytes: int = 1 << 20


class HollowRuntime(Runtime):
    """Keeps its containers in memory: they end with the process."""

    mounts_files: ClassVar[bool] = False
    uses_machine: ClassVar[bool] = False

    def __init__(self, pod_cidr: str, settings: HollowSettings | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._settings = settings or HollowSettings()
        # Since when containers seem to use how much CPU.
        self._rates = [(clock.now(), self._settings.cpu_milli)]
        self._addresses = PodAddresses(pod_cidr)
        self._observations = Observations()
        self._plans: dict[str, ContainerPlan] = {}
        # The ends, by container, of processes that end by themselves.
        self._fates: dict[str, asyncio.TimerHandle] = {}
        self._count = 0
        self._trouble = ""
        self._handlers: tuple[str, ...] = ("hollow",)
        # References that cannot be pulled, and container names whose start fails with these words.
        self.missing_images: set[str] = set()
        self.fail_start: dict[str, str] = {}
        # Container names whose resources cannot be changed, with the engine's words.
        self.fail_update: dict[str, str] = {}
        # Answers of checks by container name; success by default.
        self.check_results: dict[str, ProbeResult] = {}
        # References pulled, in order.
        self.pulled: list[str] = []

    @property
    def settings(self) -> HollowSettings:
        return self._settings

    @settings.setter
    def settings(self, settings: HollowSettings) -> None:
        """From now on it goes by these; what containers have used of CPU stays."""
        if settings.cpu_milli != self._settings.cpu_milli:
            self._rates.append((self._clock.now(), settings.cpu_milli))
        self._settings = settings

    def use_pod_cidr(self, pod_cidr: str) -> None:
        self._addresses = PodAddresses(pod_cidr)

    async def start(self) -> None:
        self._refuse_in_trouble()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return None

    @property
    def version(self) -> str:
        return "hollow://1.0.0"

    @property
    def handlers(self) -> tuple[str, ...]:
        return self._handlers

    @handlers.setter
    def handlers(self, names: tuple[str, ...]) -> None:
        self._handlers = names

    @property
    def trouble(self) -> str:
        return self._trouble

    @trouble.setter
    def trouble(self, words: str) -> None:
        self._trouble = words
        self._observations.tell("")

    def observe(self, uid: str) -> PodObservation | None:
        return self._observations.get(uid)

    def observed(self) -> Mapping[str, PodObservation]:
        return self._observations.pods

    def on_change(self, callback: Callable[[str], None]) -> None:
        self._observations.on_change(callback)

    async def create_sandbox(self, plan: SandboxPlan) -> Sandbox:
        self._refuse_in_trouble()
        pod = self._observations.get(plan.pod.uid)
        for found in pod.sandboxes if pod else ():
            if found.attempt == plan.attempt:
                return found
        if plan.handler and plan.handler not in self.handlers:
            raise NoSuchHandler(plan.handler)
        ip = "" if plan.host_network else self._addresses.take()
        await _pause(self._settings.sandbox_seconds)
        sandbox = Sandbox(self._new_id(), plan.pod, plan.attempt, True, ip, self._clock.now(), plan.handler)
        self._observations.put_sandbox(sandbox)
        return sandbox

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        self._refuse_in_trouble()
        if sandbox.ip and self._observations.find(sandbox.id):
            self._addresses.release(sandbox.ip)
        self._observations.remove(sandbox.pod.uid, sandbox.id)

    async def image(self, reference: str) -> Image:
        self._refuse_in_trouble()
        if reference in self.missing_images:
            raise NoSuchImage(f"No such image: {reference}")
        return Image(_id_of(reference), reference)

    async def images(self) -> list[LocalImage]:
        self._refuse_in_trouble()
        return [LocalImage((reference,), 0, _id_of(reference)) for reference in sorted(set(self.pulled))]

    async def remove_image(self, reference: str) -> None:
        self.pulled = [name for name in self.pulled if name != reference]

    async def pull(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        self._refuse_in_trouble()
        await _pause(self._settings.pull_seconds)
        self.pulled.append(reference)
        if reference in self.missing_images:
            raise RuntimeFailure(f"manifest for {reference} not found: manifest unknown")
        return await self.image(reference)

    async def create_container(self, plan: ContainerPlan) -> Container:
        self._refuse_in_trouble()
        pod = self._observations.get(plan.pod.uid)
        for found in pod.containers if pod else ():
            if (found.name, found.attempt) == (plan.name, plan.attempt):
                return found
        image = await self.image(plan.image)
        container = Container(
            self._new_id(),
            plan.name,
            plan.attempt,
            CREATED,
            plan.image,
            image.id,
            plan.spec_hash,
            plan.sandbox_attempt,
            self._clock.now(),
            limits=plan.limits,
            stop_signal=plan.stop_signal or image.stop_signal or "SIGTERM",
        )
        self._plans[container.id] = plan
        self._observations.put_container(plan.pod, container)
        return container

    async def start_container(self, container: Container, pod: PodRef) -> None:
        self._refuse_in_trouble()
        await _pause(self._settings.start_seconds)
        if container.name in self.fail_start:
            words, now = self.fail_start[container.name], self._clock.now()
            failed = replace(container, state=EXITED, exit_code=START_FAILED_EXIT_CODE, error=words, finished_at=now)
            self._observations.put_container(pod, failed)
            raise RuntimeFailure(words)
        fate, now = fate_of(self._plan(container.id).process), self._clock.now()
        running = replace(container, state=RUNNING, started_at=now)
        if fate is not None and not fate.seconds:
            # Over before anybody could have looked.
            self._observations.put_container(pod, replace(running, state=EXITED, exit_code=fate.exit_code, finished_at=now))
            return
        self._observations.put_container(pod, running)
        if fate is not None:
            loop = asyncio.get_running_loop()
            self._fates[container.id] = loop.call_later(fate.seconds, self._end, pod, container.id, fate.exit_code)

    def _end(self, ref: PodRef, container_id: str, exit_code: int) -> None:
        """The process ends, unless it was stopped before."""
        self._fates.pop(container_id, None)
        pod = self._observations.get(ref.uid)
        for container in pod.containers if pod else ():
            if container.id == container_id and container.state == RUNNING:
                ended = replace(container, state=EXITED, exit_code=exit_code, finished_at=self._clock.now())
                self._observations.put_container(ref, ended)

    def exit(self, uid: str, name: str, exit_code: int = 0, *, oom_killed: bool = False) -> None:
        """Ends a running container as if its process had ended."""
        pod = self._observations.get(uid)
        container = pod.latest(name) if pod else None
        if pod is None or container is None or container.state != RUNNING:
            raise NoSuchContainer(f"no running container {name} in pod {uid}")
        ended = replace(container, state=EXITED, exit_code=exit_code, finished_at=self._clock.now(), oom_killed=oom_killed)
        self._observations.put_container(pod.ref, ended)

    def kill_sandbox(self, uid: str) -> None:
        """Ends a sandbox as if its process had been killed."""
        pod = self._observations.get(uid)
        if pod is None or pod.sandbox is None:
            raise NoSuchContainer(f"no sandbox of pod {uid}")
        self._observations.put_sandbox(replace(pod.sandbox, ready=False))

    async def update_container(self, container: Container, pod: PodRef, limits: Limits) -> None:
        self._refuse_in_trouble()
        if container.name in self.fail_update:
            raise RuntimeFailure(self.fail_update[container.name])
        self._refuse_ended(container)
        self._observations.put_limits(pod, container.id, limits)

    async def pin_container(self, container: Container, pod: PodRef, cpuset: str) -> None:
        self._refuse_in_trouble()
        self._refuse_ended(container)
        self._observations.put_pinned(pod, container.id, cpuset)

    def _refuse_ended(self, container: Container) -> None:
        known = self._observations.container(container.id)
        if known is None or known.state != RUNNING:
            raise RuntimeFailure(f"container {container.id} is not running")

    async def stop_container(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        self._refuse_in_trouble()
        await _pause(min(self._settings.stop_seconds, grace_seconds))
        code = KILLED_EXIT_CODE if self._settings.stop_seconds > grace_seconds else TERMINATED_EXIT_CODE
        found = self._observations.find(container.id)
        if found and isinstance(found[1], Container) and found[1].state == RUNNING:
            self._observations.put_container(pod, replace(found[1], state=EXITED, exit_code=code, finished_at=self._clock.now()))

    async def remove_container(self, container: Container, pod: PodRef) -> None:
        self._refuse_in_trouble()
        self._plans.pop(container.id, None)
        if (fate := self._fates.pop(container.id, None)) is not None:
            fate.cancel()
        self._observations.remove(pod.uid, container.id)

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """One line a container: what would run here."""
        plan = self._plan(container_id)
        if options.stream == STDERR:
            return
        yield f"hollow container {plan.name} of pod {plan.pod.namespace}/{plan.pod.name}, attempt {plan.attempt}\n".encode()

    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        self._plan(container_id)
        raise RuntimeFailure("a hollow container runs no commands")

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        self._plan(container_id)
        raise RuntimeFailure("a hollow container has no process to attach to")

    async def dial(self, sandbox: Sandbox, port: int) -> socket.socket:
        raise RuntimeFailure("a hollow pod listens on no port")

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        plan = self._plan(container_id)
        default = ProbeResult(True, "" if isinstance(check, ExecCheck) else "hollow")
        return self.check_results.get(plan.name, default)

    async def usage(self) -> list[Usage]:
        now, result = self._clock.now(), []
        for pod in self._observations.pods.values():
            for container in pod.containers:
                if container.state == RUNNING and container.started_at is not None:
                    cpu = self._used(container.started_at, now)
                    result.append(Usage(pod.ref, container.name, cpu, self._settings.memory_bytes))
        return result

    def _used(self, since: datetime, until: datetime) -> int:
        """CPU time of a container that has run from one moment to another, nanoseconds."""
        used = 0.0
        # One may have begun before its runtime, by a clock that somebody has set.
        ends = [*(at for at, _ in self._rates[1:]), until]
        for number, ((begin, milli), end) in enumerate(zip(self._rates, ends, strict=True)):
            begin = max(begin, since) if number else since
            used += max((end - begin).total_seconds(), 0.0) * milli
        return int(used * 1_000_000)

    def _plan(self, container_id: str) -> ContainerPlan:
        plan = self._plans.get(container_id)
        if plan is None:
            raise NoSuchContainer(f"No such container: {container_id}")
        return plan

    def _new_id(self) -> str:
        self._count += 1
        return hashlib.sha256(f"{id(self)}-{self._count}".encode()).hexdigest()

    def _refuse_in_trouble(self) -> None:
        if self._trouble:
            raise RuntimeUnavailable(self._trouble)


def _id_of(reference: str) -> str:
    """The same however it is spelled."""
    return "sha256:" + hashlib.sha256(full_name(reference).encode()).hexdigest()


async def _pause(seconds: float) -> None:
    """Unlike a sleep of no time, does not give way."""
    if seconds > 0:
        await asyncio.sleep(seconds)

"""Runs the probes of a pod's containers and keeps their results in the pod's facts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.int_or_string import is_text
from knarr.objects.pods import init_and_main_containers, is_sidecar
from knarr.service.tasks import cancel
from services.kubelet.container.standstill import Standstill
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.stopping import MAXIMUM_GRACE_SECONDS
from services.kubelet.runtime.port import (
    RUNNING,
    Check,
    Container,
    ExecCheck,
    GrpcCheck,
    HttpCheck,
    PodObservation,
    ProbeResult,
    RuntimeFailure,
    TcpCheck,
)

log = logging.getLogger(__name__)

STARTUP, LIVENESS, READINESS = "Startup", "Liveness", "Readiness"


class UnknownPort(Exception):
    """A probe names a port that the container does not declare."""


def port_number(port: meta.IntOrString, spec: core.Container) -> int:
    """The number of a port given by number or name; raises UnknownPort."""
    if not is_text(port):
        return int(port.int_val)
    for declared in spec.ports:
        if declared.name == port.str_val:
            return int(declared.container_port)
    if port.str_val.isdigit():
        return int(port.str_val)
    raise UnknownPort(f"couldn't find port: {port.str_val}")


def check_of(handler: core.ProbeHandler | core.LifecycleHandler, spec: core.Container, pod_ip: str) -> Check:
    """The check of a probe or hook, for the runtime; raises UnknownPort."""
    if handler.HasField("exec"):
        return ExecCheck(tuple(handler.exec.command))
    if handler.HasField("http_get"):
        get = handler.http_get
        headers = tuple((header.name, header.value) for header in get.http_headers)
        path = get.path if get.path.startswith("/") else f"/{get.path}"
        port, scheme = port_number(get.port, spec), get.scheme or "HTTP"
        return HttpCheck(get.host or pod_ip, port, path, scheme, headers, get.protocol == "HTTP2")
    if isinstance(handler, core.ProbeHandler) and handler.HasField("grpc"):
        return GrpcCheck(pod_ip, handler.grpc.port, handler.grpc.service, handler.grpc.mode == "TLS")
    return TcpCheck(handler.tcp_socket.host or pod_ip, port_number(handler.tcp_socket.port, spec))


class Prober:
    """The probes of one pod: one task for each probe of each running container."""

    def __init__(self, context: PodContext, wake: Callable[[], None]) -> None:
        """``wake`` is called when an answer changes what is known of a container."""
        self._runtime = context.shared.runtime
        self._clock = context.shared.clock
        self._facts = context.facts
        self._event = context.events.container
        self._wake = wake
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        # How often they ended how: by container, kind and result.
        self.results: Counter[tuple[str, str, str]] = Counter()

    def follow(self, pod: core.Pod, observation: PodObservation, *, stopping: bool) -> None:
        """Starts probes of containers that run now and ends the others'. A stopping pod keeps its readiness probes only, a container
        that has started is asked no more whether it has."""
        wanted: dict[tuple[str, str], tuple[core.Container, Container, core.Probe]] = {}
        sidecars = {spec.name for spec in pod.spec.init_containers if is_sidecar(spec)}
        probed = {spec.name for spec in pod.spec.containers} | sidecars
        for spec in init_and_main_containers(pod.spec):
            container = observation.latest(spec.name)
            if container is None or container.state != RUNNING or spec.name not in probed:
                continue
            started = self._facts.of(container.id).started
            for kind, name in ((STARTUP, "startup_probe"), (LIVENESS, "liveness_probe"), (READINESS, "readiness_probe")):
                if spec.HasField(name) and not (stopping and kind != READINESS) and not (kind == STARTUP and started):
                    wanted[container.id, kind] = (spec, container, getattr(spec, name))
        for key in self._tasks.keys() - wanted.keys():
            self._tasks.pop(key).cancel()
        ip = observation.sandbox.ip if observation.sandbox else ""
        for key in [key for key in wanted if key not in self._tasks]:
            spec, container, probe = wanted[key]
            work = self._probe(key[1], spec, container, probe, ip or pod.status.host_ip)
            self._tasks[key] = asyncio.create_task(work, name=f"probe/{key[1]}/{spec.name}")

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await cancel(tasks)

    async def _probe(self, kind: str, spec: core.Container, container: Container, probe: core.Probe, ip: str) -> None:
        known = self._facts.of(container.id)
        if kind != STARTUP and spec.HasField("startup_probe"):
            await known.has_started.wait()
        await asyncio.sleep(_remaining(container.started_at, probe.initial_delay_seconds, self._clock.now()))
        successes = failures = 0
        ticks = Ticks(probe.period_seconds or 10)
        while True:
            result = await self._ask(kind, spec, container, probe, ip)
            self.results[spec.name, kind, _told(result)] += 1
            if result is None:
                # Nobody knows: neither did it succeed nor fail.
                await ticks.next()
                continue
            successes, failures = (successes + 1, 0) if result.success else (0, failures + 1)
            if not result.success:
                self._event("Warning", "Unhealthy", f"{kind} probe failed: {result.output}", spec.name)
            elif result.warning:
                self._event("Warning", "ProbeWarning", f"{kind} probe warning: {result.output}", spec.name)
            if successes == max(probe.success_threshold, 1):
                self._tell(kind, container.id, spec, probe, True)
                if kind == STARTUP:
                    return
            elif failures == max(probe.failure_threshold or 3, 1):
                self._tell(kind, container.id, spec, probe, False)
            await ticks.next()

    async def _ask(self, kind: str, spec: core.Container, container: Container, probe: core.Probe, ip: str) -> ProbeResult | None:
        """None where the container could not be asked, or had no time to answer because this process stood still: an engine that is away,
        or a cluster that is paused, must not end containers that are well."""
        timeout = float(probe.timeout_seconds or 1)
        try:
            with Standstill() as standstill:
                result = await self._runtime.check(container.id, check_of(probe.handler, spec, ip), timeout)
            return None if standstill.happened and not result.success else result
        except (RuntimeFailure, UnknownPort) as error:
            self._event("Warning", "Unhealthy", f"{kind} probe errored and resulted in unknown state: {error}", spec.name)
            return None
        except Exception as error:
            # A probe that ended here would leave its container unwatched.
            log.exception("a probe failed in a way nobody thought of", extra={"container": spec.name})
            return ProbeResult(False, f"{type(error).__name__}: {error}")

    def _tell(self, kind: str, container_id: str, spec: core.Container, probe: core.Probe, success: bool) -> None:
        known = self._facts.of(container_id)
        before = (known.started, known.ready, known.unhealthy)
        if kind == READINESS:
            known.ready = success
        elif success:
            if kind == STARTUP:
                known.start()
        else:
            known.unhealthy = f"Container {spec.name} failed {kind.lower()} probe"
            if probe.HasField("termination_grace_period_seconds"):
                known.grace_seconds = min(float(probe.termination_grace_period_seconds), MAXIMUM_GRACE_SECONDS)
        if before != (known.started, known.ready, known.unhealthy):
            self._wake()


class Ticks:
    """Times that are ``period_seconds`` apart, the first of them now. Who takes longer than that goes on at once, but makes up for no more
    than one that was missed: an answer that is waited for delays none of the next ones, as in Kubernetes."""

    def __init__(self, period_seconds: float) -> None:
        self._period, self._last = period_seconds, asyncio.get_running_loop().time()

    async def next(self) -> None:
        """Waits for the next one."""
        now = asyncio.get_running_loop().time()
        self._last += max((now - self._last) // self._period, 1) * self._period
        await asyncio.sleep(max(self._last - now, 0))


def _remaining(started_at: datetime | None, delay_seconds: int, now: datetime) -> float:
    """No more than all of it, whatever a clock that was set back since says."""
    if started_at is None:
        return float(delay_seconds)
    return min(max(delay_seconds - (now - started_at).total_seconds(), 0.0), delay_seconds)


def _told(result: ProbeResult | None) -> str:
    """As metrics name it."""
    if result is None:
        return "unknown"
    return "successful" if result.success else "failed"

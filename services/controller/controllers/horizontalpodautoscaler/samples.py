"""What is measured of pods, and which of them count: some start, some are not measured (yet). Pure; specified by Kubernetes' autoscaler.

Amounts are thousandths of what the metric is in: millicores of CPU, thousandths of a byte of memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.machinery import quantity
from knarr.machinery.times import to_datetime
from knarr.objects.amounts import CPU
from knarr.objects.conditions import FALSE, get_condition
from knarr.objects.keys import is_deleting
from knarr.objects.pods import FAILED, PENDING, RUNNING, is_ready, lasting_containers

NANOSECONDS = 1_000_000_000


class Unmeasured(Exception):
    """Why a metric gives no count, in Kubernetes' words."""


@dataclass(frozen=True, slots=True)
class Sample:
    """``value`` in thousandths, over the ``window_seconds`` that ended at ``time`` (None where nobody asks when)."""

    value: int
    time: datetime | None = None
    window_seconds: float = 0.0


# By the name of the pod.
Samples = dict[str, Sample]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long after its start a pod's CPU says nothing of its work while it is not ready (``initialization_seconds``), and within how long
    of its start it must have changed its mind for us to believe that it ever was (``readiness_seconds``)."""

    initialization_seconds: float = 300.0
    readiness_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Groups:
    """``ready`` pods count; ``unready`` start; ``missing`` should be measured and are not; ``leaving`` are deleted or have failed."""

    ready: int = 0
    unready: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)


def grouped(pods: Iterable[core.Pod], samples: Samples, resource: str, pace: Pace, now: datetime) -> Groups:
    """``resource`` is empty for metrics that are none of a resource: only CPU is more while a pod starts."""
    ready, unready, missing, leaving = 0, set[str](), set[str](), set[str]()
    for pod in pods:
        name = pod.metadata.name
        if is_deleting(pod) or pod.status.phase == FAILED:
            leaving.add(name)
        elif pod.status.phase == PENDING:
            unready.add(name)
        elif name not in samples:
            missing.add(name)
        elif resource == CPU and _starts(pod, samples[name], pace, now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, unready, missing, leaving)


def _starts(pod: core.Pod, sample: Sample, pace: Pace, now: datetime) -> bool:
    condition = get_condition(pod.status, "Ready")
    if condition is None or not pod.status.HasField("start_time"):
        return True
    started, changed = to_datetime(pod.status.start_time), to_datetime(condition.last_transition_time)
    if started + timedelta(seconds=pace.initialization_seconds) > now:
        # Of before it was ready, or of the time about it.
        early = sample.time is not None and sample.time < changed + timedelta(seconds=sample.window_seconds)
        return condition.status == FALSE or early
    return condition.status == FALSE and started + timedelta(seconds=pace.readiness_seconds) > changed


def requests(pods: Iterable[core.Pod], resource: str, container: str = "") -> dict[str, int]:
    """What each pod asks for of a resource, or one container of it. Raises Unmeasured where one says nothing."""
    found: dict[str, int] = {}
    for pod in pods:
        total = 0
        for asking in lasting_containers(pod.spec):
            if container and asking.name != container:
                continue
            if resource not in asking.resources.requests:
                raise Unmeasured(f"missing request for {resource} in container {asking.name} of Pod {pod.metadata.name}")
            total += quantity.milli(asking.resources.requests[resource].string)
        found[pod.metadata.name] = total
    return found


def of_pods(measured: Iterable[metrics.PodMetrics], resource: str) -> Samples:
    """The sum of each pod's containers; without those of which one does not tell the resource."""
    found: Samples = {}
    for pod in measured:
        amounts = [_amount(container, resource) for container in pod.containers]
        told = [amount for amount in amounts if amount is not None]
        if told and len(told) == len(amounts):
            found[pod.metadata.name] = _sample(pod, sum(told))
    return found


def of_containers(measured: Iterable[metrics.PodMetrics], resource: str, container: str) -> Samples:
    """Raises Unmeasured for a pod without such a container."""
    found: Samples = {}
    for pod in measured:
        part = next((one for one in pod.containers if one.name == container), None)
        if part is None:
            place = f"{pod.metadata.namespace}/{pod.metadata.name}"
            raise Unmeasured(f"failed to get container metrics: container {container} not present in metrics for pod {place}")
        if (amount := _amount(part, resource)) is not None:
            found[pod.metadata.name] = _sample(pod, amount)
    return found


def _amount(container: metrics.ContainerMetrics, resource: str) -> int | None:
    return quantity.milli(container.usage[resource].string) if resource in container.usage else None


def _sample(pod: metrics.PodMetrics, value: int) -> Sample:
    return Sample(value, to_datetime(pod.timestamp), pod.window.duration / NANOSECONDS)


def ready_count(pods: Sequence[core.Pod]) -> int:
    """Those that run and are ready. Raises Unmeasured where there is no pod at all."""
    if not pods:
        raise Unmeasured("unable to calculate ready pods: no pods returned by selector while calculating replica count")
    return sum(pod.status.phase == RUNNING and is_ready(pod) for pod in pods)

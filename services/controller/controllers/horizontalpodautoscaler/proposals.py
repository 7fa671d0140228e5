"""What each metric of an autoscaler proposes, in Kubernetes' words for what it cannot. Pure but for the ``Sources`` that it asks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import quantity
from knarr.machinery.errors import StatusError
from knarr.machinery.selectors import format_label_selector, label_selector
from services.controller.controllers.horizontalpodautoscaler import replicas
from services.controller.controllers.horizontalpodautoscaler.replicas import Count, Tolerance
from services.controller.controllers.horizontalpodautoscaler.samples import Pace, Samples, Unmeasured, grouped, ready_count, requests


class Sources(Protocol):
    """Where values come from, in thousandths. All raise Unmeasured."""

    async def of_resource(self, resource: str, namespace: str, selector: str, container: str) -> Samples:
        """Of the pods that a selector chooses; of one of their containers, if it is named."""
        ...

    async def of_pods(self, metric: str, namespace: str, selector: str, metric_selector: str) -> Samples: ...

    async def of_object(
        self, metric: str, namespace: str, described: autoscaling.CrossVersionObjectReference, metric_selector: str
    ) -> int: ...

    async def of_outside(self, metric: str, namespace: str, metric_selector: str) -> int:
        """The sum of all that the selector chooses."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What is scaled: ``wanted`` pods by its spec, ``current`` by its status, and those ``pods`` that its ``selector`` chooses."""

    namespace: str
    wanted: int
    current: int
    selector: str
    pods: Sequence[core.Pod]


@dataclass(frozen=True, slots=True)
class Proposal:
    """``name`` says by what; ``status`` what the metric is at the moment."""

    replicas: int
    name: str
    status: autoscaling.MetricStatus


@dataclass(frozen=True, slots=True)
class Failure:
    """``reason`` and ``message`` are those of the event, ``summary`` what is said of the autoscaler as a whole."""

    reason: str
    message: str
    summary: str


@dataclass(frozen=True, slots=True)
class Asking:
    """One metric about one subject."""

    sources: Sources
    subject: Subject
    tolerance: Tolerance
    pace: Pace
    now: datetime

    async def propose(self, metric: autoscaling.MetricSpec) -> Proposal | Failure:
        kind = KINDS.get(metric.type)
        if kind is None:
            words = f'unknown metric source type "{metric.type}"'
            return Failure("InvalidMetricSourceType", words, words)
        try:
            return await kind.propose(self, metric)
        except Unmeasured as error:
            return Failure(kind.reason, str(error), f"failed to get {kind.summary(metric)} metric value: {error}")

    async def of_resource(self, metric: autoscaling.MetricSpec) -> Proposal:
        source = metric.resource
        count, name = await self._resource(source.name, source.target, "")
        status = autoscaling.MetricStatus(type=metric.type)
        status.resource.name = source.name
        _tell_average(status.resource.current, count)
        return Proposal(count.replicas, name, status)

    async def of_container(self, metric: autoscaling.MetricSpec) -> Proposal:
        source = metric.container_resource
        count, name = await self._resource(source.name, source.target, source.container)
        status = autoscaling.MetricStatus(type=metric.type)
        status.container_resource.name, status.container_resource.container = source.name, source.container
        _tell_average(status.container_resource.current, count)
        return Proposal(count.replicas, name, status)

    async def _resource(self, resource: str, target: autoscaling.MetricTarget, container: str) -> tuple[Count, str]:
        """The count, and by what."""
        by_usage = target.HasField("average_value")
        if not by_usage and not target.HasField("average_utilization"):
            words = "neither an average utilization target nor an average value (usage) target was set"
            raise Unmeasured(f"invalid resource metric source: {words}")
        with_ = "usage" if by_usage else "utilization"
        subject = self.subject
        try:
            try:
                samples = await self.sources.of_resource(resource, subject.namespace, subject.selector, container)
            except Unmeasured as error:
                raise Unmeasured(f"unable to get metrics for resource {resource}: {error}") from error
            groups = grouped(self._pods(), samples, resource, self.pace, self.now)
            if by_usage:
                wanted = quantity.milli(target.average_value.string)
                return replicas.by_average(subject.wanted, wanted, samples, groups, self.tolerance), f"{resource} resource"
            asked = requests(subject.pods, resource, container)
            found = replicas.by_utilization(subject.wanted, target.average_utilization, samples, groups, asked, self.tolerance)
        except Unmeasured as error:
            raise Unmeasured(f"failed to get {resource} {with_}: {error}") from error
        return found, f"{resource} {'container ' if container else ''}resource utilization (percentage of request)"

    async def of_pods(self, metric: autoscaling.MetricSpec) -> Proposal:
        source, subject = metric.pods, self.subject
        try:
            samples = await self.sources.of_pods(source.metric.name, subject.namespace, subject.selector, _selector(source.metric))
        except Unmeasured as error:
            raise Unmeasured(f"unable to get metric {source.metric.name}: {error}") from error
        groups = grouped(self._pods(), samples, "", self.pace, self.now)
        wanted = quantity.milli(source.target.average_value.string)
        count = replicas.by_average(subject.wanted, wanted, samples, groups, self.tolerance)
        status = autoscaling.MetricStatus(type=metric.type)
        status.pods.metric.CopyFrom(source.metric)
        _tell_average(status.pods.current, count)
        return Proposal(count.replicas, f"pods metric {source.metric.name}", status)

    async def of_object(self, metric: autoscaling.MetricSpec) -> Proposal:
        source, subject = metric.object, self.subject
        described = source.described_object
        try:
            total = await self.sources.of_object(source.metric.name, subject.namespace, described, _selector(source.metric))
        except Unmeasured as error:
            place = f"{described.kind} {subject.namespace}/{described.name}"
            raise Unmeasured(f"unable to get metric {source.metric.name}: {place}: {error}") from error
        count = self._total(source.target, total, "object")
        status = autoscaling.MetricStatus(type=metric.type)
        status.object.metric.CopyFrom(source.metric)
        status.object.described_object.CopyFrom(described)
        _tell_total(status.object.current, source.target, count)
        return Proposal(count.replicas, f"{described.kind} metric {source.metric.name}", status)

    async def of_outside(self, metric: autoscaling.MetricSpec) -> Proposal:
        source, subject = metric.external, self.subject
        chosen = _selector(source.metric)
        try:
            total = await self.sources.of_outside(source.metric.name, subject.namespace, chosen)
        except Unmeasured as error:
            words = f"unable to get external metric {subject.namespace}/{source.metric.name}/{chosen or 'nil'}: {error}"
            raise Unmeasured(f"failed to get {source.metric.name} external metric: {words}") from error
        count = self._total(source.target, total, "external")
        status = autoscaling.MetricStatus(type=metric.type)
        status.external.metric.CopyFrom(source.metric)
        _tell_total(status.external.current, source.target, count)
        return Proposal(count.replicas, f"external metric {source.metric.name}({chosen or 'nil'})", status)

    def _total(self, target: autoscaling.MetricTarget, total: int, kind: str) -> Count:
        subject = self.subject
        if target.HasField("average_value"):
            return replicas.by_total_per_pod(subject.current, quantity.milli(target.average_value.string), total, self.tolerance)
        if not target.HasField("value"):
            raise Unmeasured(f"invalid {kind} metric source: neither a value target nor an average value target was set")
        wanted = quantity.milli(target.value.string)
        # Without pods, or near to what is wanted, nobody needs to be ready.
        near = self.tolerance.holds(total / wanted)
        return replicas.by_total(
            subject.wanted, wanted, total, 0 if near or not subject.wanted else ready_count(subject.pods), self.tolerance
        )

    def _pods(self) -> Sequence[core.Pod]:
        if not self.subject.pods:
            raise Unmeasured("no pods returned by selector while calculating replica count")
        return self.subject.pods


@dataclass(frozen=True, slots=True)
class Kind:
    """``reason`` is that of a failure's event, ``summary`` how its message calls the metric."""

    propose: Callable[[Asking, autoscaling.MetricSpec], Coroutine[Any, Any, Proposal]]
    reason: str
    summary: Callable[[autoscaling.MetricSpec], str]


KINDS: Mapping[str, Kind] = {
    "Resource": Kind(Asking.of_resource, "FailedGetResourceMetric", lambda metric: f"{metric.resource.name} resource"),
    "ContainerResource": Kind(
        Asking.of_container, "FailedGetContainerResourceMetric", lambda metric: f"{metric.container_resource.container} container"
    ),
    "Pods": Kind(Asking.of_pods, "FailedGetPodsMetric", lambda metric: "pods"),
    "Object": Kind(Asking.of_object, "FailedGetObjectMetric", lambda metric: "object"),
    "External": Kind(Asking.of_outside, "FailedGetExternalMetric", lambda metric: f"{metric.external.metric.name} external"),
}


def _selector(metric: autoscaling.MetricIdentifier) -> str:
    """Empty for all."""
    try:
        return format_label_selector(label_selector(metric.selector)) if metric.HasField("selector") else ""
    except StatusError as error:
        raise Unmeasured(str(error)) from error


def _tell_average(current: autoscaling.MetricValueStatus, count: Count) -> None:
    current.average_value.CopyFrom(_thousandths(count.value))
    if count.utilization is not None:
        current.average_utilization = count.utilization


def _tell_total(current: autoscaling.MetricValueStatus, target: autoscaling.MetricTarget, count: Count) -> None:
    field = current.average_value if target.HasField("average_value") else current.value
    field.CopyFrom(_thousandths(count.value))


def _thousandths(value: int) -> meta.Quantity:
    return meta.Quantity(string=quantity.canonical(f"{value}m"))

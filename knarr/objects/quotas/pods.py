"""Pods: what they ask for and may use, until they have ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import seconds_after, to_datetime
from knarr.objects.keys import is_deleting
from knarr.objects.peaks import add, at_least
from knarr.objects.pods import init_and_main_containers, is_finished
from knarr.objects.qos import BEST_EFFORT, qos_class
from knarr.objects.quotas.evaluator import Evaluator, counted, selects
from knarr.objects.resizes import held_by
from knarr.objects.totals import ONE, Totals, limits_of, of_pod, totals
from knarr.objects.whole_pods import HUGE_PAGES

COUNT, PODS = counted("", "pods"), "pods"
COMPUTE = ("cpu", "memory", "ephemeral-storage")
REQUESTS, LIMITS = "requests.", "limits."
NAMES = frozenset({COUNT, PODS, *COMPUTE, *(prefix + name for prefix in (REQUESTS, LIMITS) for name in COMPUTE)})
# By these each container must say what it asks for; Kubernetes' pages call that a mistake, and keep it.
DEMANDED = frozenset(prefix + name for prefix in ("", REQUESTS, LIMITS) for name in ("cpu", "memory"))


class PodEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__(*NAMES)

    def tracks(self, name: str) -> bool:
        return super().tracks(name) or name.startswith((HUGE_PAGES, REQUESTS + HUGE_PAGES)) or _is_extended_request(name)

    def usage(self, obj: core.Pod, now: datetime) -> Totals:
        used = {COUNT: ONE}
        if is_charged(obj, now):
            requests, limits = _of_pod(obj)
            used.update(_named(requests, limits))
        return used

    def in_scope(self, rule: core.ScopedResourceSelectorRequirement, obj: core.Pod) -> bool:
        match rule.scope_name:
            case "Terminating":
                return _ends_by_itself(obj)
            case "NotTerminating":
                return not _ends_by_itself(obj)
            case "BestEffort":
                return qos_class(obj.spec) == BEST_EFFORT
            case "NotBestEffort":
                return qos_class(obj.spec) != BEST_EFFORT
            case "PriorityClass":
                return selects(rule, obj.spec.priority_class_name)
            case "CrossNamespacePodAffinity":
                return _looks_across(obj.spec)
        return False

    def missing(self, names: Iterable[str], obj: core.Pod) -> str:
        demanded = sorted(DEMANDED.intersection(names))
        lacking: dict[str, set[str]] = {}
        for container in init_and_main_containers(obj.spec) if demanded else ():
            said = _named(
                totals(container.resources.requests) | totals(obj.spec.resources.requests),
                totals(container.resources.limits) | totals(obj.spec.resources.limits),
            )
            for name in demanded:
                if name not in said:
                    lacking.setdefault(name, set()).add(container.name)
        told = [f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking)]
        return f"must specify {'; '.join(told)}" if told else ""


def is_charged(pod: core.Pod, now: datetime) -> bool:
    """Whether it uses more than its number: neither ended, nor gone but for its object."""
    if is_finished(pod):
        return False
    if not (is_deleting(pod) and pod.metadata.HasField("deletion_grace_period_seconds")):
        return True
    gone_at = seconds_after(to_datetime(pod.metadata.deletion_timestamp), pod.metadata.deletion_grace_period_seconds)
    return gone_at is None or now <= gone_at


def _of_pod(pod: core.Pod) -> tuple[Totals, Totals]:
    """What it asks for and may use, its overhead included; while it is resized, the larger of what it has and what it shall have."""
    spec, overhead, lists = pod.spec, totals(pod.spec.overhead), held_by(pod)

    def held(container: core.Container) -> Totals:
        found: Totals = {}
        for amounts in lists(container):
            at_least(found, totals(amounts))
        return found

    requests, limits = of_pod(spec, held, spec.resources.requests), limits_of(spec)
    add(requests, overhead)
    add(limits, {name: amount for name, amount in overhead.items() if name in limits})
    return requests, limits


def _named(requests: Totals, limits: Totals) -> Totals:
    """By the names that quotas have for them."""
    found = {PODS: ONE}
    for name, amount in requests.items():
        if name in COMPUTE or name.startswith(HUGE_PAGES):
            found[name] = found[REQUESTS + name] = amount
        elif not _is_native(name):
            found[REQUESTS + name] = amount
    found.update((LIMITS + name, limits[name]) for name in COMPUTE if name in limits)
    return found


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _is_extended_request(name: str) -> bool:
    """A device: only what is asked for is counted, as it cannot be promised twice."""
    return name.startswith(REQUESTS) and not _is_native(name)


def _ends_by_itself(pod: core.Pod) -> bool:
    return pod.spec.HasField("active_deadline_seconds") and pod.spec.active_deadline_seconds >= 0


def _looks_across(spec: core.PodSpec) -> bool:
    """Whether one of its terms about other pods is about those of other namespaces."""
    affinity = spec.affinity
    for found in (affinity.pod_affinity, affinity.pod_anti_affinity):
        weighted = (term.pod_affinity_term for term in found.preferred_during_scheduling_ignored_during_execution)
        for term in (*found.required_during_scheduling_ignored_during_execution, *weighted):
            if term.namespaces or term.HasField("namespace_selector"):
                return True
    return False

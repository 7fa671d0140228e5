"""/metrics/resource: CPU, memory and swap of the node, its pods and containers, as metrics-server reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from services.kubelet.web.exposition import Sample, family
from services.kubelet.web.survey import ContainerSurvey, NodeSurvey, PodSurvey

NANO = 1_000_000_000
GAUGE = "gauge"
KINDS = {
    "cpu_usage_seconds_total": ("counter", "[STABLE] CPU time used"),
    "memory_working_set_bytes": (GAUGE, "[STABLE] Memory without caches that can be given back"),
    "swap_usage_bytes": (GAUGE, "[ALPHA] Memory that is swapped out"),
}


def resource_metrics(survey: NodeSurvey | None) -> list[str]:
    """The lines; None: the engine did not answer, which the last metric says."""
    failed = family("resource_scrape_error", GAUGE, "[STABLE] 1 where the engine did not answer", [({}, int(survey is None), None)])
    if survey is None:
        return failed
    at, swap = round(survey.time.timestamp() * 1000), survey.machine.swap_total - survey.machine.swap_free
    containers = [*_containers(survey)]
    used = {
        "container": [(labels, [one.usage]) for labels, one in containers],
        "pod": [(_of(pod), pod.usages) for pod in survey.pods],
    }
    starts = [(labels, one.container.started_at.timestamp(), None) for labels, one in containers if one.container.started_at]
    lines = family("container_start_time_seconds", GAUGE, "[STABLE] When it was started, seconds since 1970", starts)
    lines += _family("node", "cpu_usage_seconds_total", [({}, survey.cpu_nanoseconds / NANO, at)])
    lines += _family("node", "memory_working_set_bytes", [({}, survey.memory_bytes, at)])
    lines += _family("node", "swap_usage_bytes", [({}, swap, at)])
    for whose, found in used.items():
        lines += _family(whose, "cpu_usage_seconds_total", [(a, sum(u.cpu_nanoseconds for u in usages) / NANO, at) for a, usages in found])
        lines += _family(whose, "memory_working_set_bytes", [(a, sum(u.memory_bytes for u in usages), at) for a, usages in found])
        lines += _family(whose, "swap_usage_bytes", [(a, sum(u.details.swap_bytes for u in usages), at) for a, usages in found])
    return [*lines, *failed]


def _family(whose: str, what: str, samples: list[Sample]) -> list[str]:
    kind, words = KINDS[what]
    return family(f"{whose}_{what}", kind, words, samples)


def _containers(survey: NodeSurvey) -> Iterator[tuple[dict[str, str], ContainerSurvey]]:
    for pod in survey.pods:
        for one in pod.containers:
            yield {"container": one.container.name, **_of(pod)}, one


def _of(pod: PodSurvey) -> dict[str, str]:
    return {"namespace": pod.ref.namespace, "pod": pod.ref.name}

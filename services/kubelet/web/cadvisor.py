"""/metrics/cadvisor: what containers use in cAdvisor's names and labels, by which dashboards ask. Pure.

As there, each pod has series of its own, the sums, without container and image; its networks stand under its sandbox. What the engine does
not tell is left out rather than told as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from knarr.objects.qos import qos_class
from services.kubelet.cpu import PERIOD_MICROS
from services.kubelet.node.machine import Machine
from services.kubelet.runtime.plan import Limits
from services.kubelet.runtime.usage import NO_DETAILS, NetworkUse, Usage, UsageDetails
from services.kubelet.web.exposition import Sample, family
from services.kubelet.web.summary import PodDisk
from services.kubelet.web.survey import ContainerSurvey, NodeSurvey, PodSurvey

NANO = 1_000_000_000


class Series(NamedTuple):
    """Something that uses, and by which labels it is told of; ``limits`` and ``started`` (seconds since 1970) are a container's."""

    labels: dict[str, str]
    cpu_nanoseconds: int
    memory_bytes: int
    details: UsageDetails
    processes: int = 0
    limits: Limits | None = None
    started: float | None = None


class Detail(NamedTuple):
    name: str
    kind: str
    words: str
    of: Callable[[UsageDetails], float]
    labels: Mapping[str, str] = MappingProxyType({})


COUNTER, GAUGE = "counter", "gauge"
NO_DEVICE = {"device": ""}
DETAILS = (
    Detail("container_cpu_user_seconds_total", COUNTER, "CPU time used outside the kernel", lambda d: d.cpu_user_nanoseconds / NANO),
    Detail("container_cpu_system_seconds_total", COUNTER, "CPU time used in the kernel", lambda d: d.cpu_system_nanoseconds / NANO),
    Detail("container_cpu_cfs_periods_total", COUNTER, "Periods of the CPU quota that are over", lambda d: d.cpu_periods),
    Detail("container_cpu_cfs_throttled_periods_total", COUNTER, "Those that ended held back", lambda d: d.cpu_throttled_periods),
    Detail("container_cpu_cfs_throttled_seconds_total", COUNTER, "Time held back", lambda d: d.cpu_throttled_nanoseconds / NANO),
    Detail("container_memory_usage_bytes", GAUGE, "Memory with all caches", lambda d: d.memory_usage_bytes),
    Detail("container_memory_max_usage_bytes", GAUGE, "The most memory there was", lambda d: d.memory_most_bytes),
    Detail("container_memory_failcnt", COUNTER, "How often the memory limit was met", lambda d: d.memory_failures),
    Detail("container_memory_cache", GAUGE, "Pages of files, bytes", lambda d: d.cache_bytes),
    Detail("container_memory_rss", GAUGE, "Anonymous memory, bytes", lambda d: d.rss_bytes),
    Detail("container_memory_mapped_file", GAUGE, "Mapped files, bytes", lambda d: d.mapped_bytes),
    Detail("container_memory_swap", GAUGE, "Memory that is swapped out, bytes", lambda d: d.swap_bytes),
    Detail("container_fs_reads_bytes_total", COUNTER, "Bytes read from disks", lambda d: d.read_bytes, NO_DEVICE),
    Detail("container_fs_writes_bytes_total", COUNTER, "Bytes written to disks", lambda d: d.written_bytes, NO_DEVICE),
    Detail("container_fs_reads_total", COUNTER, "Reads from disks", lambda d: d.reads, NO_DEVICE),
    Detail("container_fs_writes_total", COUNTER, "Writes to disks", lambda d: d.writes, NO_DEVICE),
)
NETWORK: tuple[tuple[str, str, Callable[[NetworkUse], int]], ...] = (
    ("receive_bytes", "Bytes received", lambda n: n.received_bytes),
    ("receive_packets", "Packets received", lambda n: n.received_packets),
    ("receive_errors", "Errors when receiving", lambda n: n.received_errors),
    ("receive_packets_dropped", "Packets received and dropped", lambda n: n.received_dropped),
    ("transmit_bytes", "Bytes sent", lambda n: n.sent_bytes),
    ("transmit_packets", "Packets sent", lambda n: n.sent_packets),
    ("transmit_errors", "Errors when sending", lambda n: n.sent_errors),
    ("transmit_packets_dropped", "Packets dropped instead of sent", lambda n: n.sent_dropped),
)


def cadvisor_metrics(survey: NodeSurvey, machine: Machine, disks: Mapping[str, PodDisk] = MappingProxyType({})) -> list[str]:
    """The lines of the page. ``disks`` has what lies on a disk for the pods, by uid."""
    at = round(survey.time.timestamp() * 1000)
    containers = [*_containers(survey)]
    told = [*containers, *_pods(survey), _root(survey)]
    detailed = [series for series in told if series.details is not NO_DETAILS]
    cpu = [({**series.labels, "cpu": "total"}, series.cpu_nanoseconds / NANO, at) for series in told]
    memory = [(series.labels, series.memory_bytes, at) for series in told]
    processes = [(series.labels, series.processes, at) for series in told if series.processes]
    lines = [
        *family("container_processes", GAUGE, "Processes and threads", processes),
        *family("container_cpu_usage_seconds_total", COUNTER, "CPU time used", cpu),
        *family("container_memory_working_set_bytes", GAUGE, "Memory without caches that can be given back", memory),
        *family("container_memory_failures_total", COUNTER, "Page faults", [*_faults(detailed, at)]),
    ]
    for detail in DETAILS:
        samples = [({**series.labels, **detail.labels}, detail.of(series.details), at) for series in detailed]
        lines += family(detail.name, detail.kind, detail.words, samples)
    for name, words, of in NETWORK:
        samples = [({**labels, "interface": use.interface}, of(use), at) for labels, use in _networks(survey)]
        lines += family(f"container_network_{name}_total", COUNTER, words, samples)
    return [*lines, *_specs(containers, at), *_disks(survey, disks, at), *_machine(survey, machine)]


def _faults(detailed: Iterable[Series], at: int) -> Iterator[Sample]:
    for series in detailed:
        for kind, count in (("pgfault", series.details.page_faults), ("pgmajfault", series.details.major_page_faults)):
            yield {**series.labels, "failure_type": kind, "scope": "container"}, count, at


def _specs(containers: list[Series], at: int) -> list[str]:
    limited = [(series.labels, series.limits) for series in containers if series.limits is not None]
    quotas = [(labels, limits.cpu_quota_micros, None) for labels, limits in limited if limits.cpu_quota_micros]
    shares = [(labels, limits.cpu_shares, None) for labels, limits in limited]
    memory = [(labels, limits.memory_bytes, None) for labels, limits in limited]
    started = [(series.labels, series.started, None) for series in containers if series.started is not None]
    return [
        *family("container_spec_cpu_period", GAUGE, "Period of the CPU quota", [(one, PERIOD_MICROS, None) for one, _ in limited]),
        *family("container_spec_cpu_quota", GAUGE, "CPU time in a period", quotas),
        *family("container_spec_cpu_shares", GAUGE, "Weight among others", shares),
        *family("container_spec_memory_limit_bytes", GAUGE, "Memory limit; 0: none", memory),
        *family("container_start_time_seconds", GAUGE, "When it was started, seconds since 1970", started),
        *family("container_last_seen", GAUGE, "When it was seen", [(series.labels, at // 1000, at) for series in containers]),
    ]


def _disks(survey: NodeSurvey, disks: Mapping[str, PodDisk], at: int) -> list[str]:
    """What is used of the node's file system: by all, and by containers that write into their own layer and their logs."""
    if (disk := survey.disk) is None:
        return []
    root = {**_labels("/"), **NO_DEVICE}
    used: list[Sample] = [(root, disk.used, None)]
    limits: list[Sample] = [(root, disk.capacity, None)]
    for pod in survey.pods:
        written = disks[pod.ref.uid].written if pod.ref.uid in disks else {}
        for one in pod.containers:
            if (found := written.get(one.container.name)) is not None:
                labels = {**_container_labels(pod, one), **NO_DEVICE}
                used.append((labels, found.both.bytes, at))
                limits.append((labels, disk.capacity, at))
    return [
        *family("container_fs_usage_bytes", GAUGE, "Used on the file system", used),
        *family("container_fs_limit_bytes", GAUGE, "Size of the file system", limits),
        *family("container_fs_inodes_total", GAUGE, "Inodes of the file system", [(root, disk.inodes, None)]),
        *family("container_fs_inodes_free", GAUGE, "Those that are free", [(root, disk.inodes_free, None)]),
    ]


def _machine(survey: NodeSurvey, machine: Machine) -> list[str]:
    labels = {"boot_id": machine.boot_id, "machine_id": machine.machine_id, "system_uuid": machine.system_uuid}
    amounts = [
        ("machine_cpu_cores", "Processors", machine.cpus, labels),
        ("machine_memory_bytes", "Memory", machine.memory_bytes, labels),
        ("machine_swap_bytes", "Swap", survey.machine.swap_total, labels),
    ]
    return [line for name, words, amount, told in amounts for line in family(name, GAUGE, words, [(told, amount, None)])]


def _labels(path: str, container: str = "", image: str = "", name: str = "", namespace: str = "", pod: str = "") -> dict[str, str]:
    return {"container": container, "id": path, "image": image, "name": name, "namespace": namespace, "pod": pod}


def _path(pod: PodSurvey, engine_id: str = "") -> str:
    """Where its group would lie by Kubernetes' own order of groups."""
    quality = qos_class(pod.pod.spec)
    between = "" if quality == "Guaranteed" else f"/{quality.lower()}"
    return f"/kubepods{between}/pod{pod.ref.uid}" + (f"/{engine_id}" if engine_id else "")


def _container_labels(pod: PodSurvey, one: ContainerSurvey) -> dict[str, str]:
    found = one.container
    return _labels(_path(pod, found.id), found.name, found.image, found.id, pod.ref.namespace, pod.ref.name)


def _containers(survey: NodeSurvey) -> Iterator[Series]:
    for pod in survey.pods:
        for one in pod.containers:
            found, usage = one.container, one.usage
            labels = _container_labels(pod, one)
            started = found.started_at.timestamp() if found.started_at is not None else None
            yield Series(labels, usage.cpu_nanoseconds, usage.memory_bytes, usage.details, usage.processes, found.limits, started)


def _pods(survey: NodeSurvey) -> Iterator[Series]:
    for pod in survey.pods:
        labels = _labels(_path(pod), namespace=pod.ref.namespace, pod=pod.ref.name)
        cpu, memory = sum(usage.cpu_nanoseconds for usage in pod.usages), sum(usage.memory_bytes for usage in pod.usages)
        yield Series(labels, cpu, memory, _sum(pod.usages), sum(usage.processes for usage in pod.usages))


def _sum(usages: list[Usage]) -> UsageDetails:
    """What all use together, but for what is a bound or a mark; networks stand by themselves."""
    told = [usage.details for usage in usages if usage.details is not NO_DETAILS]
    if not told:
        return NO_DETAILS
    alone = ("memory_limit_bytes", "memory_most_bytes", "networks")
    names = [name for name in UsageDetails.__dataclass_fields__ if name not in alone]
    return UsageDetails(**{name: sum(getattr(details, name) for details in told) for name in names})


def _root(survey: NodeSurvey) -> Series:
    return Series(_labels("/"), survey.cpu_nanoseconds, survey.memory_bytes, NO_DETAILS)


def _networks(survey: NodeSurvey) -> Iterator[tuple[dict[str, str], NetworkUse]]:
    for use in survey.machine.networks:
        yield _labels("/"), use
    for pod in survey.pods:
        if pod.sandbox_usage is None or pod.sandbox is None or not pod.sandbox.ip:
            # In the node's own network there is nothing of its own.
            continue
        labels = _labels(_path(pod, pod.sandbox.id), name=pod.sandbox.id, namespace=pod.ref.namespace, pod=pod.ref.name)
        for use in pod.sandbox_usage.details.networks:
            yield labels, use

"""/stats/summary: what the node, its pods, containers and volumes use, in the JSON of Kubernetes' Summary API. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.forms import write_seconds
from knarr.machinery.times import to_time
from services.kubelet.eviction.usage import NOTHING, Space, Written
from services.kubelet.node.machine_use import DiskUse
from services.kubelet.pod.disk_usage import takes_disk
from services.kubelet.runtime.usage import NO_DETAILS, NetworkUse, Usage
from services.kubelet.web.survey import ContainerSurvey, NodeSurvey, PodSurvey


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """What is used of a volume, and of the file system that it lies on; ``used`` and ``inodes_used`` are its own."""

    disk: DiskUse
    used: int
    inodes_used: int


@dataclass(frozen=True, slots=True)
class PodDisk:
    """What lies on a disk for a pod: its volumes by name, its containers by name."""

    volumes: Mapping[str, VolumeUse]
    written: Mapping[str, Written]


NO_DISK = PodDisk({}, {})


def summary(node: str, survey: NodeSurvey, disks: Mapping[str, PodDisk], images_bytes: int, started: datetime) -> dict[str, Any]:
    """``disks`` are by pod uid; ``images_bytes`` is what all images take, ``started`` when the node began."""
    return {
        "node": _node(node, survey, images_bytes, started),
        "pods": [_pod(pod, survey, disks.get(pod.ref.uid, NO_DISK)) for pod in survey.pods],
    }


def only_cpu_and_memory(told: dict[str, Any]) -> dict[str, Any]:
    """What is left of a summary for who asks for no more."""
    names = ("cpu", "memory")
    node = {name: told["node"][name] for name in ("nodeName", "systemContainers", "startTime", *names) if name in told["node"]}
    pods = [
        {
            **{name: pod[name] for name in ("podRef", "startTime", *names) if name in pod},
            "containers": [{name: one[name] for name in ("name", "startTime", *names) if name in one} for one in pod["containers"]],
        }
        for pod in told["pods"]
    ]
    return {"node": node, "pods": pods}


def _node(name: str, survey: NodeSurvey, images_bytes: int, started: datetime) -> dict[str, Any]:
    at, machine = moment(survey.time), survey.machine
    told: dict[str, Any] = {
        "nodeName": name,
        "systemContainers": [],
        "startTime": moment(machine.booted_at or started),
        "cpu": _cpu(at, survey.cpu_nanoseconds, survey.nanocores),
        "memory": {"time": at, "workingSetBytes": survey.memory_bytes, "usageBytes": survey.memory_bytes},
    }
    if machine.memory_total:
        told["memory"] |= {
            "availableBytes": machine.memory_available,
            "usageBytes": machine.memory_total - machine.memory_free,
            "rssBytes": machine.anonymous,
            "pageFaults": machine.page_faults,
            "majorPageFaults": machine.major_page_faults,
        }
        told["network"] = _network(at, machine.networks)
        told["rlimit"] = {"time": at, "maxpid": machine.most_processes, "curproc": machine.processes}
        swapped = machine.swap_total - machine.swap_free
        told["swap"] = {"time": at, "swapAvailableBytes": machine.swap_free, "swapUsageBytes": swapped}
    if survey.disk is not None:
        told["fs"] = disk(at, survey.disk, survey.disk.used, survey.disk.inodes - survey.disk.inodes_free)
        told["runtime"] = {"imageFs": {**told["fs"], "usedBytes": images_bytes}, "containerFs": told["fs"]}
    return told


def _pod(pod: PodSurvey, survey: NodeSurvey, on_disk: PodDisk) -> dict[str, Any]:
    at = moment(survey.time)
    rates = [one.nanocores for one in pod.containers if one.nanocores is not None]
    told: dict[str, Any] = {
        "podRef": {"name": pod.ref.name, "namespace": pod.ref.namespace, "uid": pod.ref.uid},
        "startTime": moment(_begun(pod, survey)),
        "containers": [_container(at, one, survey, on_disk.written.get(one.container.name)) for one in pod.containers],
        "cpu": _cpu(at, sum(usage.cpu_nanoseconds for usage in pod.usages), sum(rates) if rates else None),
        "memory": _memory(at, pod.usages),
        "process_stats": {"process_count": sum(usage.processes for usage in pod.usages)},
        "swap": {"time": at, "swapUsageBytes": sum(usage.details.swap_bytes for usage in pod.usages)},
    }
    if pod.sandbox_usage is not None and pod.sandbox_usage.details.networks:
        told["network"] = _network(at, pod.sandbox_usage.details.networks)
    if on_disk.volumes:
        told["volume"] = [_volume(at, pod.pod, name, use) for name, use in sorted(on_disk.volumes.items())]
    if survey.disk is not None and (on_disk.volumes or on_disk.written):
        own = {volume.name for volume in pod.pod.spec.volumes if takes_disk(volume)}
        used = [Space(use.used, use.inodes_used) for name, use in on_disk.volumes.items() if name in own]
        total = sum((*used, *(written.both for written in on_disk.written.values())), NOTHING)
        told["ephemeral-storage"] = disk(at, survey.disk, total.bytes, total.inodes)
    return told


def _begun(pod: PodSurvey, survey: NodeSurvey) -> datetime:
    began = pod.sandbox.created_at if pod.sandbox is not None else None
    return began or min((one.container.started_at for one in pod.containers if one.container.started_at), default=survey.time)


def _container(at: str, one: ContainerSurvey, survey: NodeSurvey, written: Written | None) -> dict[str, Any]:
    details = one.usage.details
    told: dict[str, Any] = {
        "name": one.container.name,
        "startTime": moment(one.container.started_at or survey.time),
        "cpu": _cpu(at, one.usage.cpu_nanoseconds, one.nanocores),
        "memory": _memory(at, [one.usage]),
        "swap": {"time": at, "swapUsageBytes": details.swap_bytes},
    }
    limit = one.container.limits.memory_bytes if one.container.limits is not None else 0
    if limit:
        told["memory"]["availableBytes"] = max(limit - one.usage.memory_bytes, 0)
    if survey.disk is not None and written is not None:
        for name, space in (("rootfs", written.root), ("logs", written.logs)):
            told[name] = disk(at, survey.disk, space.bytes, space.inodes)
    return told


def _cpu(at: str, nanoseconds: int, nanocores: int | None) -> dict[str, Any]:
    rate = {} if nanocores is None else {"usageNanoCores": nanocores}
    return {"time": at, **rate, "usageCoreNanoSeconds": nanoseconds}


def _memory(at: str, usages: Sequence[Usage]) -> dict[str, Any]:
    told: dict[str, Any] = {"time": at, "workingSetBytes": sum(usage.memory_bytes for usage in usages)}
    details = [usage.details for usage in usages if usage.details is not NO_DETAILS]
    if details:
        told |= {
            "usageBytes": sum(one.memory_usage_bytes for one in details),
            "rssBytes": sum(one.rss_bytes for one in details),
            "pageFaults": sum(one.page_faults for one in details),
            "majorPageFaults": sum(one.major_page_faults for one in details),
        }
    return told


def _network(at: str, networks: Sequence[NetworkUse]) -> dict[str, Any]:
    """The first one, which is the default, and all."""

    def counts(use: NetworkUse) -> dict[str, Any]:
        sizes = {"rxBytes": use.received_bytes, "rxErrors": use.received_errors, "txBytes": use.sent_bytes, "txErrors": use.sent_errors}
        return {"name": use.interface, **sizes}

    return {"time": at, **(counts(networks[0]) if networks else {"name": ""}), "interfaces": [counts(use) for use in networks]}


def _volume(at: str, pod: core.Pod, name: str, use: VolumeUse) -> dict[str, Any]:
    told = {**disk(at, use.disk, use.used, use.inodes_used), "name": name}
    claim = next((v.volume_source.persistent_volume_claim.claim_name for v in pod.spec.volumes if v.name == name), "")
    return {**told, "pvcRef": {"name": claim, "namespace": pod.metadata.namespace}} if claim else told


def disk(at: str, file_system: DiskUse, used: int, inodes_used: int) -> dict[str, Any]:
    """A FsStats."""
    return {
        "time": at,
        "availableBytes": file_system.available,
        "capacityBytes": file_system.capacity,
        "usedBytes": used,
        "inodesFree": file_system.inodes_free,
        "inodes": file_system.inodes,
        "inodesUsed": inodes_used,
    }


def moment(time: datetime) -> str:
    return write_seconds(to_time(time).seconds)

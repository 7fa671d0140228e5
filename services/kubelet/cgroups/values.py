"""What a control group is held to, and the files that say so in either version of the kernel's interface. Pure.

Specified by Kubernetes' cgroups of pods and of classes of service. What containers are held to is their engine's business.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.objects.amounts import CPU, MEMORY, amount_of, pod_requests
from knarr.objects.pods import init_and_main_containers
from knarr.objects.qos import BEST_EFFORT, BURSTABLE, qos_of
from knarr.objects.totals import limits_of
from knarr.objects.whole_pods import HUGE_PAGES, asks_as_a_whole
from services.kubelet.cpu import MAX_SHARES, MIN_SHARES, PERIOD_MICROS, quota_micros, shares

MIN_WEIGHT, MAX_WEIGHT = 1, 10_000


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """``cpu_quota_micros`` is for 100 ms; it, ``memory_bytes`` and ``pids`` are 0 for no limit. ``huge_pages`` has bytes by resource,
    ``swap_bytes`` what may be swapped out; None: that is not held."""

    cpu_shares: int = MIN_SHARES
    cpu_quota_micros: int = 0
    memory_bytes: int = 0
    pids: int = 0
    huge_pages: Mapping[str, int] = field(default_factory=dict)
    swap_bytes: int | None = None


def of_pod(pod: core.Pod, pids: int = 0, *, alone: bool = False, swap_bytes: int | None = None) -> GroupLimits:
    """By its requests, its overhead included, and by its limits where all of its containers have some, or the pod as a whole has.
    ``pids`` is the most processes that a pod may have; 0: as many as there are. ``alone``: a container of it has processors of its own,
    which is held up by no quota, its pod's neither. ``swap_bytes`` is what its containers may use of the swap together."""
    spec, requests = pod.spec, pod_requests(pod)
    limits = limits_of(spec)
    huge = {name: amount.whole for name, amount in limits.items() if name.startswith(HUGE_PAGES)}
    if qos_of(pod) == BEST_EFFORT:
        return GroupLimits(pids=pids, huge_pages=huge, swap_bytes=swap_bytes)
    return GroupLimits(
        cpu_shares=shares(requests.get(CPU, 0)),
        cpu_quota_micros=quota_micros(math.ceil(limits[CPU].value * 1000) + amount_of(spec.overhead, CPU))
        if _is_limited(spec, CPU) and not alone
        else 0,
        memory_bytes=limits[MEMORY].whole + amount_of(spec.overhead, MEMORY) if _is_limited(spec, MEMORY) else 0,
        pids=pids,
        huge_pages=huge,
        swap_bytes=swap_bytes,
    )


def of_class(name: str, pods: Iterable[core.Pod]) -> GroupLimits:
    """Of a class of service: Burstable weighs what its pods ask for together, BestEffort the least there is."""
    if name != BURSTABLE:
        return GroupLimits()
    mine = (pod for pod in pods if qos_of(pod) == BURSTABLE)
    return GroupLimits(cpu_shares=shares(sum(pod_requests(pod).get(CPU, 0) for pod in mine)))


def of_all(capacity: Mapping[str, int], reserved: Iterable[Mapping[str, int]]) -> GroupLimits:
    """Of all pods together: the machine (milli-CPU, bytes, processes by resource) without what is reserved; what hard thresholds keep free
    pods may use for a moment."""
    left = {name: amount - sum(kept.get(name, 0) for kept in reserved) for name, amount in capacity.items()}
    return GroupLimits(shares(left.get(CPU, 0)), 0, max(left.get(MEMORY, 0), 0), max(left.get("pid", 0), 0))


def widest(one: GroupLimits, other: GroupLimits) -> GroupLimits:
    """What leaves room for both: what a pod is held to while its containers change from the one to the other."""

    def most(first: int, second: int) -> int:
        return 0 if not first or not second else max(first, second)

    names = one.huge_pages.keys() | other.huge_pages.keys()
    return GroupLimits(
        max(one.cpu_shares, other.cpu_shares),
        most(one.cpu_quota_micros, other.cpu_quota_micros),
        most(one.memory_bytes, other.memory_bytes),
        most(one.pids, other.pids),
        {name: max(one.huge_pages.get(name, 0), other.huge_pages.get(name, 0)) for name in names},
        None if one.swap_bytes is None or other.swap_bytes is None else max(one.swap_bytes, other.swap_bytes),
    )


def weight(cpu_shares: int) -> int:
    """The weight of version 2 for one of version 1: 1024 is 100, as the kernel's defaults are, and the ends meet."""
    if cpu_shares <= MIN_SHARES:
        return MIN_WEIGHT
    if cpu_shares >= MAX_SHARES:
        return MAX_WEIGHT
    exponent = math.log2(cpu_shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def v1_files(limits: GroupLimits) -> list[tuple[str, str, str]]:
    """Controller, file and text, in the order in which they are written. -1 is no limit."""
    return [
        ("cpu", "cpu.shares", str(limits.cpu_shares)),
        ("cpu", "cpu.cfs_period_us", str(PERIOD_MICROS)),
        ("cpu", "cpu.cfs_quota_us", str(limits.cpu_quota_micros or -1)),
        ("memory", "memory.limit_in_bytes", str(limits.memory_bytes or -1)),
        ("pids", "pids.max", str(limits.pids or "max")),
        *(("hugetlb", f"hugetlb.{_page(name)}.limit_in_bytes", str(size)) for name, size in sorted(limits.huge_pages.items())),
    ]


def v2_files(limits: GroupLimits) -> list[tuple[str, str, str]]:
    """As ``v1_files``."""
    return [
        ("cpu", "cpu.weight", str(weight(limits.cpu_shares))),
        ("cpu", "cpu.max", f"{limits.cpu_quota_micros or 'max'} {PERIOD_MICROS}"),
        ("memory", "memory.max", str(limits.memory_bytes or "max")),
        # Not there where the kernel counts no swap. What version 1 has holds memory and swap together, and containers alone are held by it.
        *([] if limits.swap_bytes is None else [("swap", "memory.swap.max", str(limits.swap_bytes))]),
        ("pids", "pids.max", str(limits.pids or "max")),
        *(("hugetlb", f"hugetlb.{_page(name)}.max", str(size)) for name, size in sorted(limits.huge_pages.items())),
    ]


def properties(limits: GroupLimits, *, version: int) -> list[str]:
    """The same for systemd, as its unit's properties; huge pages it does not know."""
    percent = f"{limits.cpu_quota_micros * 100 / PERIOD_MICROS:g}%" if limits.cpu_quota_micros else ""
    memory, tasks = limits.memory_bytes or "infinity", limits.pids or "infinity"
    if version == 1:
        return [f"CPUShares={limits.cpu_shares}", f"CPUQuota={percent}", f"MemoryLimit={memory}", f"TasksMax={tasks}"]
    swap = [] if limits.swap_bytes is None else [f"MemorySwapMax={limits.swap_bytes}"]
    return [f"CPUWeight={weight(limits.cpu_shares)}", f"CPUQuota={percent}", f"MemoryMax={memory}", *swap, f"TasksMax={tasks}"]


def _page(name: str) -> str:
    """``hugepages-2Mi`` as the kernel calls it: ``2MB``."""
    size = name.removeprefix(HUGE_PAGES)
    return f"{size[:-1]}B" if size.endswith("i") else f"{quantity.value(size) // 1024}KB"


def _is_limited(spec: core.PodSpec, name: str) -> bool:
    """Whether the pod as a whole is limited: it says so, or no container lacks a limit."""
    if asks_as_a_whole(spec) and name in spec.resources.limits:
        return True
    return all(name in container.resources.limits for container in init_and_main_containers(spec))

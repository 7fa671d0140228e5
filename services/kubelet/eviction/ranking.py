"""Who is ended first where a node runs short, and the words for it. Pure; Kubernetes' order and words."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from knarr.machinery.quantity import Notation, Quantity
from knarr.objects.amounts import MEMORY, exact, pod_requests
from knarr.objects.pods import init_and_main_containers
from services.kubelet.eviction.usage import Candidate, ContainerUsage, Observation, PodUsage
from services.kubelet.thresholds import (
    ALLOCATABLE_MEMORY,
    IMAGEFS,
    IMAGEFS_INODES,
    NODEFS_INODES,
    PIDS,
    RESOURCES,
    Threshold,
)
from services.kubelet.thresholds import (
    MEMORY as MEMORY_SIGNAL,
)

EPHEMERAL_STORAGE = "ephemeral-storage"
INODE_SIGNALS = frozenset({NODEFS_INODES, IMAGEFS_INODES})
IMAGE_SIGNALS = frozenset({IMAGEFS, IMAGEFS_INODES})
MEMORY_SIGNALS = frozenset({MEMORY_SIGNAL, ALLOCATABLE_MEMORY})


def ranked(pods: Iterable[Candidate], signal: str, *, apart: bool) -> list[Candidate]:
    """The first to end first: of whom nothing is known, who uses more than it asked for, lower priority, who uses most beyond what it
    asked for. For processes nobody asks: there it is priority, then their number. ``apart``: images have a disk of their own."""
    return sorted(pods, key=lambda candidate: _place(candidate, signal, apart=apart))


def _place(candidate: Candidate, signal: str, *, apart: bool) -> tuple[bool, bool, int, int]:
    pod, usage = candidate.pod, candidate.usage
    if usage is None:
        return (False, False, pod.spec.priority, 0)
    used, asked = _used(usage, signal, apart=apart), 0
    if signal in MEMORY_SIGNALS:
        asked = pod_requests(pod).get(MEMORY, 0)
    elif signal != PIDS and signal not in INODE_SIGNALS:
        asked = pod_requests(pod).get(EPHEMERAL_STORAGE, 0)
    return (True, signal != PIDS and used <= asked, pod.spec.priority, asked - used)


def _used(usage: PodUsage, signal: str, *, apart: bool) -> int:
    if signal in MEMORY_SIGNALS:
        return usage.memory_bytes
    if signal == PIDS:
        return usage.processes
    on_images = signal in IMAGE_SIGNALS
    logs = on_images == usage.logs_on_images
    space = usage.space(root=on_images, logs=logs, volumes=not on_images) if apart else usage.space()
    return space.inodes if signal in INODE_SIGNALS else space.bytes


def message(candidate: Candidate, threshold: Threshold, seen: Observation | None) -> str:
    """Of the pod's status and event: what was short, and who of it used more than was asked for."""
    resource = RESOURCES[threshold.signal]
    words = f"The node was low on resource: {resource}. "
    if seen is not None:
        words += f"Threshold quantity: {_binary(threshold.amount.of(seen.capacity))}, available: {_amount(resource, seen.available)}. "
    pod, usage = candidate.pod, candidate.usage
    if usage is None:
        return words
    if resource == MEMORY and MEMORY in pod.spec.resources.requests:
        asked = pod.spec.resources.requests[MEMORY].string
        words += _consumer("Pod", pod.metadata.name, usage.memory_bytes, asked, resource)
    specs = {spec.name: spec for spec in init_and_main_containers(pod.spec)}
    for name, container in usage.containers.items():
        used = _container_used(container, resource)
        if name not in specs or used is None:
            continue
        requests = specs[name].resources.requests
        text, least = (requests[resource].string, exact(requests[resource])) if resource in requests else ("0", None)
        if used > (least or 0):
            words += _consumer("Container", name, used, text, resource)
    return words


def _consumer(what: str, name: str, used: int, asked: str, resource: str) -> str:
    return f"{what} {name} was using {_binary(used)}, request is {asked}, has larger consumption of {resource}. "


def _container_used(container: ContainerUsage, resource: str) -> int | None:
    if resource == MEMORY:
        return container.memory_bytes
    if resource != EPHEMERAL_STORAGE or container.written is None:
        return None
    return container.written.both.bytes


def _amount(resource: str, number: int) -> str:
    return _binary(number) if resource in (MEMORY, EPHEMERAL_STORAGE) else str(Quantity(Decimal(number), Notation.DECIMAL))


def _binary(number: int) -> str:
    return str(Quantity(Decimal(number), Notation.BINARY))

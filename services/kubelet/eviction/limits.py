"""What a pod may use of its node's disk, and the words where it uses more. Pure; Kubernetes' own."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.objects.amounts import exact
from knarr.objects.totals import limits_of
from services.kubelet.eviction.ranking import EPHEMERAL_STORAGE
from services.kubelet.eviction.usage import NOTHING, PodUsage, Written
from services.kubelet.pod.disk_usage import disk_limits


def volume_message(name: str, limit: str) -> str:
    """Of an emptyDir that holds more than its sizeLimit."""
    return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '


def is_limited(pod: core.Pod) -> bool:
    """Whether its containers have limits of ephemeral storage: to tell whether they keep them all of it must be measured."""
    return EPHEMERAL_STORAGE in limits_of(pod.spec)


def excess(pod: core.Pod, usage: PodUsage, *, apart: bool) -> str:
    """What of the pod exceeds its limit, as the pod's message; empty: nothing. ``apart``: what containers write into their own layers is
    on the images' disk, and does not count."""
    for name, limit in disk_limits(pod).items():
        if usage.volumes.get(name, NOTHING).bytes > quantity.value(limit):
            return volume_message(name, limit)
    total = limits_of(pod.spec).get(EPHEMERAL_STORAGE)
    if total is None:
        return ""
    if usage.space(root=not apart).bytes > total.value:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    for spec in pod.spec.containers:
        found = usage.containers.get(spec.name)
        if found is None or EPHEMERAL_STORAGE not in spec.resources.limits:
            continue
        own = spec.resources.limits[EPHEMERAL_STORAGE]
        most, written = exact(own), found.written or Written()
        if most and (written.logs if apart else written.both).bytes > most:
            return f'Container {spec.name} exceeded its local ephemeral storage limit "{own.string}". '
    return ""

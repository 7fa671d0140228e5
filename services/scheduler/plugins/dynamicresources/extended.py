"""The claim that is made for a pod's extended resources, of which a node has devices. Pure.

It has one request for each container and resource; devices of an init container that has ended are for those that come after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery import quantity
from knarr.objects.devices import EXACT_COUNT, EXTENDED_CLAIM

# Of a name, before what tells it from others.
MOST_LETTERS = 51
# Two pods whose long names begin the same must not come to the same.
LETTERS = 12


@dataclass(slots=True)
class _Free:
    """What containers of before have had of a resource and need no more."""

    name: str
    count: int


def claim_name(pod: core.Pod) -> str:
    """The same for a pod whenever it is asked: one that was made, and not heard of, is found again."""
    known = pod.status.extended_resource_claim_status.resource_claim_name
    prefix = f"{pod.metadata.name}-extended-resources-"[:MOST_LETTERS]
    return known or prefix + hashlib.sha256(pod.metadata.uid.encode()).hexdigest()[:LETTERS]


def extended_claim(pod: core.Pod, classes: Mapping[str, str], names: Sequence[str]) -> resource.ResourceClaim:
    """As it is to be made for resources of these names, but for whose it is; ``classes`` stand for them."""
    made = resource.ResourceClaim()
    made.metadata.namespace, made.metadata.name = pod.metadata.namespace, claim_name(pod)
    made.metadata.annotations[EXTENDED_CLAIM] = "true"
    for name in names:
        for request, count, _ in _uses(pod, name):
            if count:
                made.spec.devices.requests.add(name=request).exactly.MergeFrom(
                    resource.ExactDeviceRequest(device_class_name=classes[name], allocation_mode=EXACT_COUNT, count=count)
                )
    return made


def mappings(pod: core.Pod, claim: resource.ResourceClaim) -> list[dict[str, str]]:
    """Which container has a resource by which request, as the pod's status says it."""
    asked = {request.name for request in claim.spec.devices.requests}
    names = sorted({name for container in _containers(pod) for name in container.resources.requests})
    return [
        {"containerName": container, "resourceName": name, "requestName": request}
        for name in names
        for request, _, container in _uses(pod, name)
        if request in asked
    ]


def _containers(pod: core.Pod) -> list[Any]:
    return [*pod.spec.init_containers, *pod.spec.containers]


def _uses(pod: core.Pod, name: str) -> Iterator[tuple[str, int, str]]:
    """Of each container that asks for a resource: a request, how many devices it is for if it is a new one, or 0, and the container."""
    free: list[_Free] = []
    starting = len(pod.spec.init_containers)
    for at, container in enumerate(_containers(pod)):
        requests = container.resources.requests
        wanted = quantity.value(requests[name].string) if name in requests else 0
        ends = at < starting and container.restart_policy != "Always"
        for one in list(free):
            if wanted <= 0:
                break
            wanted -= one.count
            yield one.name, 0, container.name
            if not ends:
                free.remove(one)
        if wanted > 0:
            request = f"container-{at}-request-{sorted(requests).index(name)}"
            yield request, wanted, container.name
            if ends:
                free.append(_Free(request, wanted))

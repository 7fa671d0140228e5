"""What a node has granted a pod of its resources, which may differ from what the pod asks for by now. Pure.

Specified by Kubernetes' in-place resize: a grant holds until another one is made, whatever the spec says meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.objects.amounts import exact
from knarr.objects.pods import container_statuses, is_sidecar, lasting_containers
from knarr.objects.qos import GUARANTEED
from services.kubelet.pod.facts import Grant
from services.kubelet.pod.resources import differs, resource_limits
from services.kubelet.runtime.port import RUNNING, PodObservation

IN_PROGRESS, DEFERRED, ERROR = "PodResizeInProgress", "Deferred", "Error"
RESTART = "RestartContainer"
# In a grant, the name of the pod as a whole; no container has it.
WHOLE = ""


def asked(pod: core.Pod) -> Grant:
    """What its containers ask for, and the pod as a whole where it does; init containers that end take what they find."""
    whole = {WHOLE: pod.spec.resources} if pod.spec.HasField("resources") else {}
    return {spec.name: spec.resources for spec in lasting_containers(pod.spec)} | whole


def recalled(pod: core.Pod) -> Grant:
    """What the kubelet before this one had granted, by what it told; of containers of which it told nothing, what they ask for."""
    told = {status.name: status.resources for status in container_statuses(pod.status) if status.HasField("resources")}
    if pod.status.HasField("resources"):
        told[WHOLE] = pod.status.resources
    return {name: told.get(name, resources) for name, resources in asked(pod).items()}


def same(one: Grant, other: Grant) -> bool:
    """Whether two come to the same amounts."""
    return one == other or (one.keys() == other.keys() and all(_amounts(one[name]) == _amounts(other[name]) for name in one))


def apply(pod: core.Pod, grant: Grant) -> None:
    """Makes the pod, in place, ask for what it was granted."""
    for spec in lasting_containers(pod.spec):
        if spec.name in grant:
            spec.resources.CopyFrom(grant[spec.name])
    if WHOLE in grant:
        pod.spec.resources.CopyFrom(grant[WHOLE])


def is_resizing(pod: core.Pod, observation: PodObservation, alone: Collection[str]) -> bool:
    """Whether one of its containers still runs with other amounts than those that the pod, as granted, asks for. ``alone`` are the names
    of those that have processors of their own."""

    def has_others(spec: core.Container) -> bool:
        container = observation.latest(spec.name)
        if container is None or container.state != RUNNING or container.limits is None:
            return False
        return differs(container.limits, resource_limits(spec.resources, pod.spec, alone=spec.name in alone))

    return any(has_others(spec) for spec in lasting_containers(pod.spec))


def restarts_for(spec: core.Container, *, cpu: bool, memory: bool) -> bool:
    """Whether a container is to be started anew to have other amounts of CPU, or of memory."""
    policies = {policy.resource_name: policy.restart_policy for policy in spec.resize_policy}
    return (cpu and policies.get("cpu") == RESTART) or (memory and policies.get("memory") == RESTART)


def message(head: str, pod: core.Pod, grant: Grant, error: str = "") -> str:
    """Of an event about a resize, in Kubernetes' form."""
    said: dict[str, object] = {}
    sidecars = [spec for spec in pod.spec.init_containers if is_sidecar(spec)]
    for name, specs in (("initContainers", sidecars), ("containers", pod.spec.containers)):
        if specs:
            said[name] = _summary(specs, grant)
    if WHOLE in grant:
        said["pod"] = {"resources": codec.to_dict(grant[WHOLE])}
    said["generation"] = pod.metadata.generation
    if error:
        said["error"] = error
    return f"Pod resize {head}: {json.dumps(said, separators=(',', ':'))}"


def order(pod: core.Pod, granted: core.Pod, pending_since: float) -> tuple[bool, int, bool, float]:
    """Who is granted more first: who asks for no more, higher priority, the better class of service, who waits longest."""
    pairs = zip(lasting_containers(pod.spec), lasting_containers(granted.spec), strict=True)
    more = any(_grows(spec.resources, other.resources) for spec, other in pairs) or _grows(pod.spec.resources, granted.spec.resources)
    return more, -pod.spec.priority, pod.status.qos_class != GUARANTEED, pending_since


def _grows(asked_for: core.ResourceRequirements, granted: core.ResourceRequirements) -> bool:
    wanted, has = _amounts(asked_for)["requests"], _amounts(granted)["requests"]
    return any(amount > has.get(name, 0) for name, amount in wanted.items())


def _summary(specs: Sequence[core.Container], grant: Grant) -> list[dict[str, object]]:
    return [{"name": spec.name, "resources": codec.to_dict(grant.get(spec.name, spec.resources))} for spec in specs]


def _amounts(resources: core.ResourceRequirements) -> Mapping[str, Mapping[str, Decimal]]:
    return {
        kind: {name: exact(amount) or Decimal(0) for name, amount in found.items()}
        for kind, found in (("requests", resources.requests), ("limits", resources.limits))
    }

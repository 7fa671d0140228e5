"""The resources of a pod's containers: they are changed under a path of their own while it runs. Pure.

Specified by Kubernetes' ``pods/resize``.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import NO_FIELD, Path, forbidden, invalid
from knarr.objects.amounts import exact
from knarr.objects.copies import copy_of
from knarr.objects.pods import MIRROR, is_sidecar
from knarr.objects.qos import qos_class, qos_of
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.resources import RESIZABLE, RESTART
from services.apiserver.strategies.pod.validation import validate_pod_spec

OTHERS = "only cpu and memory resources are mutable"
INIT_OTHERS = "only cpu and memory resources for init or sidecar containers are mutable"
LISTS = (("init_containers", "initContainers"), ("containers", "containers"))


def take_containers(new: core.Pod, body: core.Pod) -> None:
    """Of a body everything but the containers and the resources of the whole pod is dropped; what else of them changes is refused, as
    there."""
    for field, _ in LISTS:
        new.spec.ClearField(field)
        getattr(new.spec, field).extend(getattr(body.spec, field))
    new.spec.ClearField("resources")
    if body.spec.HasField("resources"):
        new.spec.resources.CopyFrom(body.spec.resources)


def validate_resize(new: core.Pod, old: core.Pod) -> list[Cause]:
    """That nothing but amounts of CPU and memory changes, that none goes, and that the pod stays in its class of service."""
    if MIRROR in old.metadata.annotations:
        return [forbidden(NO_FIELD, "static pods cannot be resized")]
    if old.spec.os.name == "windows":
        return [forbidden(NO_FIELD, "windows pods cannot be resized")]
    causes = validate_pod_spec(new.spec, SPEC)
    former = qos_of(old)
    if qos_class(new.spec) != former:
        causes.append(invalid(SPEC, former, "Pod QOS Class may not change as a result of resizing"))
    if not _node_resizes(old):
        causes.append(forbidden(SPEC, "Pod running on node without support for resize"))
    causes += _whole(new.spec, old.spec)
    if moved := _moved(new, old):
        return causes + moved
    for field, name in LISTS:
        for index, (one, other) in enumerate(zip(getattr(new.spec, field), getattr(old.spec, field), strict=True)):
            causes += _container(one, other, SPEC.child(name).index(index), init=field == "init_containers")
    return causes


def _node_resizes(pod: core.Pod) -> bool:
    """Whether the kubelet says what its running containers have: older ones do not, and change nothing of them either."""
    running = next((found for found in pod.status.container_statuses if found.state.HasField("running")), None)
    return running is None or running.HasField("resources")


def _moved(new: core.Pod, old: core.Pod) -> list[Cause]:
    """Containers that came, went, or changed their places."""
    causes: list[Cause] = []
    for field, name in reversed(LISTS):
        fresh, former = getattr(new.spec, field), getattr(old.spec, field)
        if len(fresh) != len(former):
            causes.append(forbidden(SPEC.child(name), f"{name} may not be added or removed on resize"))
            continue
        for index, (one, other) in enumerate(zip(fresh, former, strict=True)):
            if one.name != other.name:
                causes.append(forbidden(SPEC.child(name).index(index).child("name"), f"{name} may not be renamed or reordered on resize"))
    return causes


def _whole(new: core.PodSpec, old: core.PodSpec) -> list[Cause]:
    """The resources of the pod as a whole: a pod that has none gets none, one that has some keeps some of each."""
    path = SPEC.child("resources")
    if new.HasField("resources") != old.HasField("resources"):
        return [forbidden(path, "pod-level resources may not be added or removed on resize")]
    causes = _removed(new.resources, old.resources, path)
    kept: core.ResourceRequirements = copy_of(new.resources)
    _keep_others(kept, old.resources)
    return causes if kept == old.resources else [*causes, forbidden(path, OTHERS)]


def _removed(new: core.ResourceRequirements, old: core.ResourceRequirements, path: Path) -> list[Cause]:
    return [
        forbidden(path.child(name), f"resource {name} cannot be removed")
        for name in ("requests", "limits")
        if set(getattr(old, name)) - set(getattr(new, name))
    ]


def _container(new: core.Container, old: core.Container, path: Path, *, init: bool) -> list[Cause]:
    causes = _removed(new.resources, old.resources, path.child("resources"))
    if _but_amounts(new, old) != old:
        causes.append(forbidden(path if init else SPEC, INIT_OTHERS if init else OTHERS))
    if init and not is_sidecar(new) and new != old and any(policy.restart_policy == RESTART for policy in new.resize_policy):
        causes.append(forbidden(path, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
    return causes


def _but_amounts(new: core.Container, old: core.Container) -> core.Container:
    """The new container with the amounts that may change as they were, and others as they were where they are written in another way."""
    kept: core.Container = copy_of(new)
    _keep_others(kept.resources, old.resources)
    if not kept.resources.ListFields() and not old.HasField("resources"):
        kept.ClearField("resources")
    return kept


def _keep_others(kept: core.ResourceRequirements, old: core.ResourceRequirements) -> None:
    for name in ("requests", "limits"):
        amounts, former = getattr(kept, name), getattr(old, name)
        for resource in list(amounts):
            if resource in RESIZABLE and resource not in former:
                del amounts[resource]
            elif resource in former and (resource in RESIZABLE or _same(amounts[resource], former[resource])):
                amounts[resource].CopyFrom(former[resource])
        for resource in RESIZABLE:
            if resource in former:
                amounts[resource].CopyFrom(former[resource])


def _same(one: meta.Quantity, other: meta.Quantity) -> bool:
    return exact(one) == exact(other)

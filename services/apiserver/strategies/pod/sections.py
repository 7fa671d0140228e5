"""The parts of a pod's spec that are changed under a path of their own: ephemeral containers, and the resources of containers.

Nobody acts by either yet. What may be kept is kept, with a word; a change that would only seem to have happened is refused.
"""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, forbidden, not_found
from knarr.objects.pods import init_and_main_containers
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.containers import PodFacts, validate_containers
from services.apiserver.strategies.pod.validation import too_many_of

EPHEMERAL = SPEC.child("ephemeralContainers")
NOT_RUN = "spec.ephemeralContainers: no kubelet runs ephemeral containers yet; they are kept, and nothing is started"
NOT_RESIZED = "no kubelet changes the resources of containers that run yet; make the pod anew with other ones"
# What an ephemeral container has in common with others and may not set.
UNSET = ("ports", "resources", "liveness_probe", "readiness_probe", "startup_probe", "lifecycle", "resize_policy", "restart_policy")
NOT_FOR_EPHEMERAL = "cannot be set for an Ephemeral Container"


def take_ephemeral_containers(new: core.Pod, body: core.Pod) -> None:
    """Of a body everything else is dropped."""
    del new.spec.ephemeral_containers[:]
    new.spec.ephemeral_containers.extend(body.spec.ephemeral_containers)


def validate_ephemeral_containers(new: core.Pod, old: core.Pod) -> list[Cause]:
    """They come, and neither go nor change."""
    if causes := too_many_of("ephemeral_containers", len(new.spec.ephemeral_containers), EPHEMERAL):
        return causes
    causes = _containers(new.spec)
    found = {container.ephemeral_container_common.name: container for container in new.spec.ephemeral_containers}
    for container in old.spec.ephemeral_containers:
        name = container.ephemeral_container_common.name
        if name not in found:
            causes.append(forbidden(EPHEMERAL, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif found[name] != container:
            causes.append(forbidden(EPHEMERAL, f'existing ephemeral containers "{name}" may not be changed\n'))
    return causes


def ephemeral_container_warnings(new: core.Pod, old: core.Pod) -> list[str]:
    return [NOT_RUN] if len(new.spec.ephemeral_containers) > len(old.spec.ephemeral_containers) else []


def _containers(spec: core.PodSpec) -> list[Cause]:
    others = {container.name for container in init_and_main_containers(spec)}
    targets = {container.name for container in spec.containers} | {container.name for container in spec.init_containers}
    facts = PodFacts({volume.name for volume in spec.volumes}, spec.termination_grace_period_seconds, spec.host_network, others)
    causes: list[Cause] = []
    # What they have in common with containers has the same numbers, and is held to the same rules.
    commons = [core.Container.FromString(one.ephemeral_container_common.SerializeToString()) for one in spec.ephemeral_containers]
    for index, (container, one) in enumerate(zip(commons, spec.ephemeral_containers, strict=True)):
        here = EPHEMERAL.index(index)
        causes += _unset(container, here)
        for place, mount in enumerate(container.volume_mounts):
            for field, name in (("sub_path", "subPath"), ("sub_path_expr", "subPathExpr")):
                if getattr(mount, field):
                    causes.append(forbidden(here.child("volumeMounts").index(place).child(name), NOT_FOR_EPHEMERAL))
        if one.target_container_name and one.target_container_name not in targets:
            causes.append(not_found(here.child("targetContainerName"), one.target_container_name))
        for field in UNSET:
            container.ClearField(field)
    return causes + (validate_containers(commons, facts, EPHEMERAL) if commons else [])


def _unset(container: core.Container, path: Path) -> list[Cause]:
    return [
        forbidden(path.child(field.json_name), NOT_FOR_EPHEMERAL)
        for field, value in container.ListFields()
        if field.name in UNSET and (value.ByteSize() if isinstance(value, Message) else value)
    ]


def take_resources(new: core.Pod, body: core.Pod) -> None:
    """Of a body everything else is dropped; containers are told by their names."""
    given = {container.name: container for container in init_and_main_containers(body.spec)}
    for container in init_and_main_containers(new.spec):
        if container.name in given:
            container.resources.CopyFrom(given[container.name].resources)


def validate_resources_change(new: core.Pod, old: core.Pod) -> list[Cause]:
    """That nothing is changed."""
    causes: list[Cause] = []
    for name, fresh, former in (
        ("containers", new.spec.containers, old.spec.containers),
        ("initContainers", new.spec.init_containers, old.spec.init_containers),
    ):
        for index, (one, other) in enumerate(zip(fresh, former, strict=True)):
            if one.resources != other.resources:
                causes.append(forbidden(SPEC.child(name).index(index).child("resources"), NOT_RESIZED))
    return causes

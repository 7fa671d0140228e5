"""Ephemeral containers: they are added to a pod under a path of their own. Pure."""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import NO_FIELD, Path, forbidden, not_found
from knarr.objects.pods import MIRROR, ephemeral_containers, init_and_main_containers
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.containers import PodFacts, validate_containers
from services.apiserver.strategies.pod.validation import too_many_of

EPHEMERAL = SPEC.child("ephemeralContainers")
# What an ephemeral container has in common with others and may not set.
UNSET = (
    *("ports", "resources", "liveness_probe", "readiness_probe", "startup_probe"),
    *("lifecycle", "resize_policy", "restart_policy", "restart_policy_rules"),
)
NOT_FOR_EPHEMERAL = "cannot be set for an Ephemeral Container"


def take_ephemeral_containers(new: core.Pod, body: core.Pod) -> None:
    """Of a body everything else is dropped."""
    del new.spec.ephemeral_containers[:]
    new.spec.ephemeral_containers.extend(body.spec.ephemeral_containers)


def validate_ephemeral_containers(new: core.Pod, old: core.Pod) -> list[Cause]:
    """They come, and neither go nor change."""
    if MIRROR in old.metadata.annotations:
        return [forbidden(NO_FIELD, "static pods do not support ephemeral containers")]
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


def _containers(spec: core.PodSpec) -> list[Cause]:
    targets = {container.name for container in spec.containers} | {container.name for container in spec.init_containers}
    facts = PodFacts.of(spec, {volume.name for volume in spec.volumes})
    facts.names.update(container.name for container in init_and_main_containers(spec))
    causes: list[Cause] = []
    commons = ephemeral_containers(spec)
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

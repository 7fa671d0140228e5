"""A StatefulSet's status: what there is of its pods, and of which revision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting
from knarr.objects.pods import RUNNING, is_ready, seconds_until_available
from services.controller.controllers.statefulset.identity import revision_of

ROLLING_UPDATE = "RollingUpdate"


@dataclass(frozen=True, slots=True)
class Version:
    """A revision's name, and the template of its pods."""

    name: str
    template: core.PodTemplateSpec


@dataclass(frozen=True, slots=True)
class Versions:
    """``update`` is what is asked for, ``current`` what the pods were when all were of one revision; ``collisions`` counts the names of
    revisions that were taken."""

    current: Version
    update: Version
    collisions: int = 0


def is_running_and_ready(pod: core.Pod) -> bool:
    return pod.status.phase == RUNNING and is_ready(pod)


def is_available(pod: core.Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Whether it serves: running, ready for long enough, and not about to go."""
    return is_running_and_ready(pod) and seconds_until_available(pod, min_ready_seconds, now) == 0 and not is_deleting(pod)


def counted(stateful_set: apps.StatefulSet, pods: Iterable[core.Pod], versions: Versions, now: datetime) -> apps.StatefulSetStatus:
    """Counts all pods of the set, those that go included. When all are of the new revision it is the current one from then on."""
    spec = stateful_set.spec
    status = apps.StatefulSetStatus(
        observed_generation=stateful_set.metadata.generation,
        current_revision=versions.current.name,
        update_revision=versions.update.name,
        collision_count=versions.collisions,
    )
    status.conditions.extend(stateful_set.status.conditions)
    for pod in pods:
        status.replicas += 1
        if is_running_and_ready(pod):
            status.ready_replicas += 1
            status.available_replicas += seconds_until_available(pod, spec.min_ready_seconds, now) == 0
        if not is_deleting(pod):
            status.current_replicas += revision_of(pod) == versions.current.name
            status.updated_replicas += revision_of(pod) == versions.update.name
    if spec.update_strategy.type == ROLLING_UPDATE and status.updated_replicas == status.ready_replicas == status.replicas == spec.replicas:
        status.current_revision, status.current_replicas = status.update_revision, status.updated_replicas
    return status

"""A StatefulSet's status: what there is of its pods, and of which revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting
from knarr.objects.pods import RUNNING, ready_since, seconds_until_available
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


def _running_until_available(pod: core.Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """How long one that runs must stay ready to be available; None when it does not run or is not ready."""
    return seconds_until_available(pod, min_ready_seconds, now) if pod.status.phase == RUNNING else None


def is_available(pod: core.Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Whether it serves: running, ready for long enough, and not about to go."""
    return _running_until_available(pod, min_ready_seconds, now) == 0 and not is_deleting(pod)


def is_as_far(before: core.Pod, after: core.Pod) -> bool:
    """Whether a pod has come no nearer to being available, nor to its end."""
    return before.status.phase == after.status.phase and ready_since(before) == ready_since(after)


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
    found = [*pods]
    waits = [_running_until_available(pod, spec.min_ready_seconds, now) for pod in found]
    revisions = Counter(revision_of(pod) for pod in found if not is_deleting(pod))
    status.replicas = len(found)
    status.ready_replicas = sum(1 for seconds in waits if seconds is not None)
    status.available_replicas = waits.count(0)
    status.current_replicas, status.updated_replicas = revisions[versions.current.name], revisions[versions.update.name]
    if spec.update_strategy.type == ROLLING_UPDATE and status.updated_replicas == status.ready_replicas == status.replicas == spec.replicas:
        status.current_revision, status.current_replicas = status.update_revision, status.updated_replicas
    return status

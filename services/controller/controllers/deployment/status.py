"""A Deployment's status: counts and the Available, Progressing and ReplicaFailure conditions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.times import to_datetime
from knarr.objects import conditions
from knarr.objects.conditions import TRUE, get_condition, remove_condition
from services.controller.controllers.deployment.limits import limits
from services.controller.workloads.status import REPLICA_FAILURE

AVAILABLE, PROGRESSING = "Available", "Progressing"
NO_DEADLINE = 2**31 - 1


def set_condition(status: apps.DeploymentStatus, kind: str, value: str, reason: str, message: str, now: datetime) -> None:
    """One with the same status and reason stays as it is: messages name one ReplicaSet or pod of many."""
    conditions.set_condition(status, kind, value, reason=reason, message=message, now=now, message_counts=False)


def renew_progress(status: apps.DeploymentStatus, reason: str, message: str, now: datetime) -> None:
    """A sign of progress: always stamped, for the deadline counts from the last one."""
    conditions.set_condition(status, PROGRESSING, TRUE, reason=reason, message=message, now=now, renew=True)


def has_deadline(deployment: apps.Deployment) -> bool:
    spec = deployment.spec
    return spec.HasField("progress_deadline_seconds") and spec.progress_deadline_seconds != NO_DEADLINE


def counted(
    deployment: apps.Deployment, new: apps.ReplicaSet | None, sets: Sequence[apps.ReplicaSet], now: datetime
) -> apps.DeploymentStatus:
    """The counts and Available. ``sets`` are the ReplicaSets that exist, ``new`` among them."""
    available = sum(rs.status.available_replicas for rs in sets)
    status = apps.DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(rs.status.replicas for rs in sets),
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(rs.status.ready_replicas for rs in sets),
        available_replicas=available,
        unavailable_replicas=max(0, sum(rs.spec.replicas for rs in sets) - available),
    )
    terminating = _terminating(sets)
    if terminating is not None:
        status.terminating_replicas = terminating
    if deployment.status.HasField("collision_count"):
        status.collision_count = deployment.status.collision_count
    status.conditions.extend(deployment.status.conditions)
    if available >= deployment.spec.replicas - limits(deployment.spec).unavailable:
        set_condition(status, AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    else:
        message = "Deployment does not have minimum availability."
        set_condition(status, AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    return status


def _terminating(sets: Sequence[apps.ReplicaSet]) -> int | None:
    """Of all ReplicaSets; None while one that was reported on has not told."""
    told = [rs.status for rs in sets if rs.status.observed_generation]
    if not all(status.HasField("terminating_replicas") for status in told):
        return None
    return sum(status.terminating_replicas for status in told)


def is_complete(deployment: apps.Deployment, status: apps.DeploymentStatus) -> bool:
    """Whether every pod is new and available."""
    wanted = deployment.spec.replicas
    return (
        status.updated_replicas == status.replicas == status.available_replicas == wanted
        and status.observed_generation >= deployment.metadata.generation
    )


def set_progress(deployment: apps.Deployment, status: apps.DeploymentStatus, new: apps.ReplicaSet | None, now: datetime) -> None:
    """Progressing: complete, moving on, or past the deadline."""
    if not has_deadline(deployment):
        remove_condition(status, PROGRESSING)
        return
    current = get_condition(status, PROGRESSING)
    settled = current is not None and current.reason == "NewReplicaSetAvailable" and status.replicas == status.updated_replicas
    if settled:
        return
    subject = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        set_condition(status, PROGRESSING, "True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.", now)
    elif _moved(deployment.status, status):
        renew_progress(status, "ReplicaSetUpdated", f"{subject} is progressing.", now)
    elif seconds_to_deadline(deployment, status, now) == 0:
        set_condition(status, PROGRESSING, "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.", now)


def set_replica_failure(status: apps.DeploymentStatus, new: apps.ReplicaSet | None, sets: Sequence[apps.ReplicaSet], now: datetime) -> None:
    """Shows the first ReplicaFailure of the ReplicaSets, the new one's before the others'."""
    ordered = [*([new] if new is not None else []), *sets]
    failures = (get_condition(rs.status, REPLICA_FAILURE) for rs in ordered)
    failure = next((found for found in failures if found is not None and found.status == TRUE), None)
    if failure is None:
        remove_condition(status, REPLICA_FAILURE)
    else:
        set_condition(status, REPLICA_FAILURE, failure.status, failure.reason, failure.message, now)


def set_pause(deployment: apps.Deployment, status: apps.DeploymentStatus, now: datetime) -> None:
    """Progressing tells of a pause, so that the time does not count against the deadline."""
    current = get_condition(status, PROGRESSING)
    if not has_deadline(deployment) or (current is not None and current.reason == "ProgressDeadlineExceeded"):
        return
    was_paused = current is not None and current.reason == "DeploymentPaused"
    if deployment.spec.paused and not was_paused:
        set_condition(status, PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)
    elif not deployment.spec.paused and was_paused:
        set_condition(status, PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)


def seconds_to_deadline(deployment: apps.Deployment, status: apps.DeploymentStatus, now: datetime) -> float | None:
    """0 once the rollout is past its progress deadline; None when no deadline runs."""
    current = get_condition(status, PROGRESSING)
    if not has_deadline(deployment) or current is None or deployment.spec.paused:
        return None
    if current.reason == "NewReplicaSetAvailable":
        return None
    if current.reason == "ProgressDeadlineExceeded":
        return 0.0
    deadline: datetime = to_datetime(current.last_update_time) + timedelta(seconds=deployment.spec.progress_deadline_seconds)
    return max(0.0, (deadline - now).total_seconds())


def _moved(before: apps.DeploymentStatus, after: apps.DeploymentStatus) -> bool:
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )

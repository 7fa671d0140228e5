"""A Deployment's status: counts and the Available, Progressing and ReplicaFailure conditions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.times import to_datetime, to_time
from services.controller.controllers.deployment.limits import limits

AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"
NO_DEADLINE = 2**31 - 1


def condition(status: apps.DeploymentStatus, kind: str) -> apps.DeploymentCondition | None:
    return next((entry for entry in status.conditions if entry.type == kind), None)


def set_condition(status: apps.DeploymentStatus, kind: str, value: str, reason: str, message: str, now: datetime) -> None:
    """Replaces a condition; one with the same status and reason stays as it is."""
    old = condition(status, kind)
    if old is not None and (old.status, old.reason) == (value, reason):
        return
    replace_condition(status, kind, value, reason, message, now)


def replace_condition(status: apps.DeploymentStatus, kind: str, value: str, reason: str, message: str, now: datetime) -> None:
    """Replaces a condition and stamps it; lastTransitionTime moves only with the status."""
    old = condition(status, kind)
    stamp = to_time(now)
    fresh = apps.DeploymentCondition(
        type=kind, status=value, reason=reason, message=message, last_update_time=stamp, last_transition_time=stamp
    )
    if old is not None:
        if old.status == value:
            fresh.last_transition_time.CopyFrom(old.last_transition_time)
        status.conditions.remove(old)
    status.conditions.append(fresh)


def remove_condition(status: apps.DeploymentStatus, kind: str) -> None:
    old = condition(status, kind)
    if old is not None:
        status.conditions.remove(old)


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
    if deployment.status.HasField("collision_count"):
        status.collision_count = deployment.status.collision_count
    status.conditions.extend(deployment.status.conditions)
    if available >= deployment.spec.replicas - limits(deployment.spec).unavailable:
        set_condition(status, AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    else:
        message = "Deployment does not have minimum availability."
        set_condition(status, AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    return status


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
    current = condition(status, PROGRESSING)
    settled = current is not None and current.reason == "NewReplicaSetAvailable" and status.replicas == status.updated_replicas
    if settled:
        return
    subject = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        set_condition(status, PROGRESSING, "True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.", now)
    elif _moved(deployment.status, status):
        replace_condition(status, PROGRESSING, "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
    elif seconds_to_deadline(deployment, status, now) == 0:
        set_condition(status, PROGRESSING, "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.", now)


def set_replica_failure(status: apps.DeploymentStatus, new: apps.ReplicaSet | None, sets: Sequence[apps.ReplicaSet], now: datetime) -> None:
    """Shows the first ReplicaFailure of the ReplicaSets, the new one's before the others'."""
    ordered = [*([new] if new is not None else []), *sets]
    failure = next(
        (entry for rs in ordered for entry in rs.status.conditions if entry.type == REPLICA_FAILURE and entry.status == "True"), None
    )
    if failure is None:
        remove_condition(status, REPLICA_FAILURE)
    else:
        set_condition(status, REPLICA_FAILURE, failure.status, failure.reason, failure.message, now)


def set_pause(deployment: apps.Deployment, status: apps.DeploymentStatus, now: datetime) -> None:
    """Progressing tells of a pause, so that the time does not count against the deadline."""
    current = condition(status, PROGRESSING)
    if not has_deadline(deployment) or (current is not None and current.reason == "ProgressDeadlineExceeded"):
        return
    was_paused = current is not None and current.reason == "DeploymentPaused"
    if deployment.spec.paused and not was_paused:
        set_condition(status, PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)
    elif not deployment.spec.paused and was_paused:
        set_condition(status, PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)


def seconds_to_deadline(deployment: apps.Deployment, status: apps.DeploymentStatus, now: datetime) -> float | None:
    """0 once the rollout is past its progress deadline; None when no deadline runs."""
    current = condition(status, PROGRESSING)
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

"""What several components ask of a Job and of its pods."""

from __future__ import annotations

from typing import Any

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import TRUE

COMPLETE, FAILED = "Complete", "Failed"
# The finalizer of a pod that its Job has not counted yet.
TRACKING = "batch.kubernetes.io/job-tracking"
# Who cares for a Job whose ``spec.managedBy`` says nothing else.
JOB_CONTROLLER = "kubernetes.io/job-controller"


def finished_condition(job: batch.Job) -> Any | None:
    """The condition by which a Job is over, Complete or Failed; None while it goes on."""
    return next((found for found in job.status.conditions if found.type in (COMPLETE, FAILED) and found.status == TRUE), None)


def is_finished(job: batch.Job) -> bool:
    """Whether it is complete or has failed."""
    return finished_condition(job) is not None


def is_ours(job: batch.Job) -> bool:
    """Whether this cluster's own controller cares for it, rather than another one that ``spec.managedBy`` names."""
    return not job.spec.HasField("managed_by") or bool(job.spec.managed_by == JOB_CONTROLLER)


def is_tracked(pod: core.Pod) -> bool:
    """Whether the pod stays until its Job has counted it."""
    return TRACKING in pod.metadata.finalizers

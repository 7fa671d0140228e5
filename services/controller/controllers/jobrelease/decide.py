"""JobRelease: whether nobody is left who would count a pod that waits to be counted."""

from __future__ import annotations

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.jobs import is_finished, is_ours
from knarr.objects.owners import controller_key, controller_of


def belongs_to_others(pod: core.Pod) -> bool:
    """Whether something else than a Job controls the pod: its finalizer is for that to judge."""
    return controller_of(pod) is not None and controller_key(pod, batch.Job) is None


def is_uncounted_for_good(pod: core.Pod, job: batch.Job | None) -> bool:
    """``job`` is the one of the name by which the pod names its controller, None where there is none.

    A Job that another controller manages does with its pods what it likes, even when it is over.
    """
    ref = controller_of(pod)
    if ref is None or job is None or job.metadata.uid != ref.uid:
        return True
    return is_ours(job) and is_finished(job)

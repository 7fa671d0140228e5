"""How a Job counts the pods that have ended: each once, whatever dies in between. Pure.

1. The uids of pods that ended are noted in ``status.uncountedTerminatedPods`` (of an indexed Job's that succeeded their indexes are
   noted for good), and the status is written.
2. Their finalizers are taken: until then they cannot vanish.
3. Uids whose pods have no finalizer any more move from there into the counters, and the status is written again.

Whoever comes in anew between any two of these steps finds where it stands: a pod with the finalizer is counted or noted, but not both.
Specified by Kubernetes' KEP 2307.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime, to_time
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.pods import SUCCEEDED, is_ready
from services.controller.controllers.job.conditions import SUSPENDED, Verdict, set_job_condition
from services.controller.controllers.job.decide import Plan, starts
from services.controller.controllers.job.pods import NO_INDEX
from services.controller.controllers.job.policy import match_failure
from services.controller.controllers.job.view import JobView

# More uids than this do not stand in a status, so that it stays small: the others wait for the next sync.
MAX_UNCOUNTED = 500


@dataclass(frozen=True, slots=True)
class Tally:
    """``status`` is to be written, then the finalizers of ``release`` are to be taken. ``whole``: nothing is left for another sync."""

    status: batch.JobStatus
    release: Sequence[core.Pod]
    whole: bool


@dataclass(frozen=True, slots=True)
class Running:
    """How many pods have not ended."""

    active: int
    ready: int
    terminating: int


def running(view: JobView) -> Running:
    ready = sum(1 for pod in view.active if is_ready(pod))
    return Running(len(view.active) + view.unseen, ready, len(view.terminating))


def tally(view: JobView, plan: Plan, now_running: Running) -> Tally:
    """What the first write says, of the pods by which the plan was made: no end of one is noted that was not judged.

    ``view`` knows what of the plan was carried out; ``now_running`` is what came of it.
    """
    job = view.job
    status = copy_of(job.status)
    status.uncounted_terminated_pods.SetInParent()
    count_released(status, {pod.metadata.uid for pod in view.pods if view.is_tracked(pod)})
    release, whole = _note(view, plan, status)
    status.active, status.ready, status.terminating = now_running.active, now_running.ready, now_running.terminating
    _begin(view, plan, status)
    if plan.verdict is not None:
        verdict = plan.verdict
        set_job_condition(status, verdict.interim, True, verdict.reason, verdict.message, view.now)
    return Tally(status, release, whole)


def count_released(status: batch.JobStatus, tracked: Set[str]) -> None:
    """Counts, in place, what is noted and has no finalizer any more. ``tracked`` are the uids of the pods that have theirs."""
    uncounted = status.uncounted_terminated_pods
    for field in ("succeeded", "failed"):
        noted = getattr(uncounted, field)
        left = [uid for uid in noted if uid in tracked]
        setattr(status, field, getattr(status, field) + len(noted) - len(left))
        del noted[:]
        noted.extend(left)


def finish(status: batch.JobStatus, verdict: Verdict, now: datetime) -> bool:
    """Says, in place, that the Job is over, and answers whether it is: all is counted, and no pod is still on its way out."""
    uncounted = status.uncounted_terminated_pods
    if uncounted.succeeded or uncounted.failed or status.terminating or status.active:
        return False
    set_job_condition(status, verdict.final, True, verdict.reason, verdict.message, now)
    if not status.HasField("start_time"):
        # It ended while it was suspended.
        status.start_time.CopyFrom(to_time(now))
    if verdict.success:
        # Not before it began, whatever was done to the clock meanwhile: nobody would take it.
        status.completion_time.CopyFrom(max(to_time(now), status.start_time, key=to_datetime))
    return True


def _begin(view: JobView, plan: Plan, status: batch.JobStatus) -> None:
    spec = view.job.spec
    if starts(view.job):
        status.start_time.CopyFrom(to_time(view.now))
    if not plan.managed:
        return
    words = ("JobSuspended", "Job suspended") if spec.suspend else ("JobResumed", "Job resumed")
    if not set_job_condition(status, SUSPENDED, spec.suspend, *words, view.now):
        return
    if spec.suspend:
        status.ClearField("start_time")
    else:
        # The deadline counts from here.
        status.start_time.CopyFrom(to_time(view.now))


def _note(view: JobView, plan: Plan, status: batch.JobStatus) -> tuple[list[core.Pod], bool]:
    """Notes pods in ``status``, and answers which may be released now."""
    release: list[core.Pod] = []
    uncounted = status.uncounted_terminated_pods
    noted_succeeded, noted_failed = set(uncounted.succeeded), set(uncounted.failed)
    indexes = view.indexes_before
    count = 0
    for pod in sorted(view.pods, key=view.index_of) if view.is_indexed else view.pods:
        if not view.is_tracked(pod) or not _may_go(view, plan, pod):
            continue
        if len(uncounted.succeeded) + len(uncounted.failed) + count >= MAX_UNCOUNTED:
            _tell_indexes(view, status)
            return release, False
        release.append(pod)
        uid, index = pod.metadata.uid, view.index_of(pod)
        if pod.status.phase == SUCCEEDED and uid not in noted_failed:
            if view.is_indexed:
                count += index != NO_INDEX and index not in indexes
            elif uid not in noted_succeeded:
                uncounted.succeeded.append(uid)
        elif uid not in noted_failed and _counts_as_failed(view, plan, pod):
            uncounted.failed.append(uid)
    _tell_indexes(view, status)
    return release, True


def _may_go(view: JobView, plan: Plan, pod: core.Pod) -> bool:
    """Whether nothing is still to be learnt from the pod."""
    if is_deleting(view.job) or plan.verdict is not None or pod.status.phase == SUCCEEDED:
        return True
    if not view.has_failed(pod):
        return False
    kept = view.to_replace.get(view.index_of(pod))
    return kept is None or kept.metadata.uid != pod.metadata.uid


def _counts_as_failed(view: JobView, plan: Plan, pod: core.Pod) -> bool:
    """What still runs when a Job fails has failed with it."""
    failed = view.has_failed(pod) or (plan.verdict is not None and not plan.verdict.success)
    return failed and (not view.is_indexed or view.index_of(pod) != NO_INDEX) and match_failure(view.job.spec, pod).counts


def _tell_indexes(view: JobView, status: batch.JobStatus) -> None:
    if not view.is_indexed:
        return
    status.completed_indexes = str(view.completed_indexes)
    status.succeeded = len(view.completed_indexes)
    if view.limits_indexes:
        status.failed_indexes = str(view.failed_indexes)

"""Job: from the pods that there are to the pods to create and to end, and whether it is over. Pure.

What is counted of them is ``counting.py``'s, which comes after what is decided here has been done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import is_true
from knarr.objects.keys import is_deleting
from knarr.objects.pods import PENDING, RUNNING
from services.controller.controllers.job.backoff import of_index
from services.controller.controllers.job.conditions import (
    BACKOFF_LIMIT_EXCEEDED,
    COMPLETIONS_REACHED,
    DEADLINE_EXCEEDED,
    FAILED_INDEXES,
    MAX_FAILED_INDEXES_EXCEEDED,
    SUSPENDED,
    Verdict,
    pod_failure,
    standing_verdict,
    success_policy,
)
from services.controller.controllers.job.indexes import Indexes
from services.controller.controllers.job.making import make_indexed_pod, make_pod
from services.controller.controllers.job.pods import only_replaces_ended
from services.controller.controllers.job.policy import match_failure, match_success
from services.controller.controllers.job.removal import surplus_pods
from services.controller.controllers.job.view import JobView


@dataclass(frozen=True, slots=True)
class Plan:
    """``create`` are new pods. ``dismiss`` are to go without being counted, ``end`` are to go and to be counted as what they become.
    ``track`` run without the finalizer and get it again. ``managed``: the number of pods was looked at, so that the Job can be called
    suspended or resumed. ``again_seconds``: after which time alone changes something (None: never).
    """

    create: Sequence[core.Pod] = ()
    dismiss: Sequence[core.Pod] = ()
    end: Sequence[core.Pod] = ()
    track: Sequence[core.Pod] = ()
    verdict: Verdict | None = None
    managed: bool = False
    again_seconds: float | None = None


def decide(view: JobView, *, burst: int) -> Plan:
    """At most ``burst`` pods are created, or dismissed, at once."""
    verdict = standing_verdict(view.job.status) or _verdict(view)
    if verdict is not None:
        # What is created and not seen yet is ended before anything is said.
        return Plan(end=view.active, verdict=verdict if view.settled else None)
    plan = Plan()
    if view.settled and not is_deleting(view.job):
        plan = _manage(view, burst)
    if _is_complete(view, plan):
        return Plan(dismiss=plan.dismiss, verdict=COMPLETIONS_REACHED)
    waits = [seconds for seconds in (plan.again_seconds, _seconds_until_deadline(view)) if seconds is not None]
    return Plan(plan.create, plan.dismiss, (), plan.track, None, plan.managed, min(waits, default=None))


# Whether it is over.


def _verdict(view: JobView) -> Verdict | None:
    spec = view.job.spec
    if spec.HasField("pod_failure_policy"):
        for pod in view.pods:
            message = match_failure(spec, pod).message if view.has_failed(pod) else ""
            if message:
                return pod_failure(message)
    if view.failed > spec.backoff_limit or _restarts_exceed(view):
        return BACKOFF_LIMIT_EXCEEDED
    if _seconds_until_deadline(view) == 0:
        return DEADLINE_EXCEEDED
    return _verdict_of_indexes(view) if view.is_indexed else None


def _verdict_of_indexes(view: JobView) -> Verdict | None:
    spec, failed = view.job.spec, len(view.failed_indexes)
    if spec.HasField("max_failed_indexes") and failed > spec.max_failed_indexes:
        return MAX_FAILED_INDEXES_EXCEEDED
    if failed and failed + view.succeeded >= spec.completions:
        return FAILED_INDEXES
    message = match_success(spec, view.completed_indexes)
    return success_policy(message) if message else None


def _restarts_exceed(view: JobView) -> bool:
    """Of pods that are restarted in place, each restart is a failure."""
    spec = view.job.spec
    if spec.template.spec.restart_policy != "OnFailure":
        return False
    restarts = sum(
        found.restart_count
        for pod in view.pods
        if pod.status.phase in (RUNNING, PENDING)
        for found in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    )
    return restarts > 0 if spec.backoff_limit == 0 else restarts >= spec.backoff_limit


def _seconds_until_deadline(view: JobView) -> float | None:
    """None where there is none, or its time does not run; 0 when it is over."""
    spec, status = view.job.spec, view.job.status
    if not spec.HasField("active_deadline_seconds") or spec.suspend:
        return None
    # One that is resumed starts anew.
    runs = status.HasField("start_time") and not is_true(status, SUSPENDED)
    started = to_datetime(status.start_time) if runs else view.now
    return max(spec.active_deadline_seconds - (view.now - started).total_seconds(), 0.0)


def _is_complete(view: JobView, plan: Plan) -> bool:
    spec = view.job.spec
    active = len(view.active) + view.unseen + len(plan.create) - len(plan.dismiss)
    enough = view.succeeded >= spec.completions if spec.HasField("completions") else view.succeeded > 0
    return enough and active == 0


# How many pods there are to be.


def _manage(view: JobView, burst: int) -> Plan:
    if view.job.spec.suspend:
        return Plan(dismiss=view.active, managed=True)
    wanted = _wanted(view)
    surplus = surplus_pods(view, len(view.active) - wanted)[:burst]
    if surplus:
        # Not both in one sync; who goes makes room.
        return Plan(dismiss=surplus, managed=True)
    untracked = [pod for pod in view.active if not view.is_tracked(pod)]
    leaving = len(view.terminating) if only_replaces_ended(view.job.spec) else 0
    missing = min(wanted - len(view.active) - leaving, burst)
    if missing <= 0:
        return Plan(track=untracked, managed=True)
    if view.limits_indexes:
        create, again = _create_by_index(view, missing)
        return Plan(create, track=untracked, managed=True, again_seconds=again)
    wait = view.backoff.remaining_seconds(view.now)
    if wait:
        return Plan(track=untracked, managed=True, again_seconds=wait)
    return Plan([*_create(view, missing)], track=untracked, managed=True)


def _wanted(view: JobView) -> int:
    spec = view.job.spec
    if spec.HasField("completions"):
        return min(max(spec.completions - view.succeeded, 0), spec.parallelism)
    # One that succeeded is the sign for the others to finish.
    return len(view.active) if view.succeeded else spec.parallelism


def _create(view: JobView, count: int) -> Iterator[core.Pod]:
    if view.is_indexed:
        for index in islice(_pending_indexes(view), count):
            yield make_indexed_pod(view.job, index)
    else:
        for _ in range(count):
            yield make_pod(view.job)


def _create_by_index(view: JobView, count: int) -> tuple[list[core.Pod], float | None]:
    """Each index waits for itself, and takes its place while it does."""
    create: list[core.Pod] = []
    waits: list[float] = []
    for index in islice(_pending_indexes(view), count):
        last = view.to_replace.get(index)
        wait = of_index(last).remaining_seconds(view.now)
        if wait:
            waits.append(wait)
        else:
            create.append(make_indexed_pod(view.job, index, last))
    return create, min(waits, default=None)


def _pending_indexes(view: JobView) -> Iterator[int]:
    taken: Indexes = view.completed_indexes | view.active_indexes | view.failed_indexes
    if only_replaces_ended(view.job.spec):
        taken |= view.terminating_indexes
    return taken.missing(view.job.spec.completions)


def starts(job: batch.Job) -> bool:
    """Whether the Job begins now."""
    return not job.status.HasField("start_time") and not job.spec.suspend

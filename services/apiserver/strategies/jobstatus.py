"""What may be written as the status of a Job, whoever cares for it (``spec.managedBy``).

As in Kubernetes, most rules hold for what a write changes: a status that broke one before can still be mended in other parts, and one
that a change of the spec made odd waits for its controller.
"""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.machinery.errors import Cause
from knarr.machinery.forms import write_time
from knarr.machinery.times import to_datetime
from knarr.machinery.validation import duplicate, invalid, invalid_as_it_is, required
from knarr.objects.conditions import is_true
from knarr.objects.jobs import COMPLETE, FAILED, is_finished, is_ours
from services.apiserver.strategies.jobindexes import Malformed, count, first_common, parse_indexes
from services.apiserver.strategies.paths import STATUS
from services.apiserver.strategies.workloads import check_not_above, validate_counts

INDEXED = "Indexed"
FAILURE_TARGET, SUCCESS_CRITERIA_MET, SUSPENDED = "FailureTarget", "SuccessCriteriaMet", "Suspended"
CONDITIONS, START, COMPLETION = STATUS.child("conditions"), STATUS.child("startTime"), STATUS.child("completionTime")
UNCOUNTED = STATUS.child("uncountedTerminatedPods")


def validate_job_status(new: batch.Job, old: batch.Job) -> list[Cause]:
    causes = validate_counts(new.status, "active", "succeeded", "failed", "ready", "terminating")
    causes += _uncounted(new.status)
    causes += _conditions(new, old) + _times(new, old) + _finished(new, old) + _indexes(new, old)
    if _changes(new, old, "ready", "active") and new.status.HasField("ready"):
        causes += check_not_above(new.status, "ready", "active", "cannot set more ready pods than active")
    return causes + _counters(new, old)


def _changes(new: batch.Job, old: batch.Job, *fields: str) -> bool:
    return any(_value(new.status, field) != _value(old.status, field) for field in fields)


def _value(status: batch.JobStatus, field: str) -> object:
    """None for a field that is not set, where being set means something."""
    if status.DESCRIPTOR.fields_by_name[field].has_presence and not status.HasField(field):
        return None
    return getattr(status, field)


def _turns(new: batch.Job, old: batch.Job, *kinds: str) -> bool:
    """Whether one of the conditions becomes true, or is no longer."""
    return any(is_true(new.status, kind) != is_true(old.status, kind) for kind in kinds)


def _uncounted(status: batch.JobStatus) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for name in ("succeeded", "failed"):
        for index, uid in enumerate(getattr(status.uncounted_terminated_pods, name)):
            here = UNCOUNTED.child(name).index(index)
            if not uid:
                causes.append(invalid(here, uid, "must not be empty"))
            elif uid in seen:
                causes.append(duplicate(here, uid))
            seen.add(uid)
    return causes


def _conditions(new: batch.Job, old: batch.Job) -> list[Cause]:
    def both(one: str, other: str) -> bool:
        return is_true(new.status, one) and is_true(new.status, other)

    words: list[str] = []
    if _turns(new, old, COMPLETE, FAILED) and both(COMPLETE, FAILED):
        words.append("cannot set Complete=True and Failed=true conditions")
    if _turns(new, old, COMPLETE, FAILURE_TARGET) and both(COMPLETE, FAILURE_TARGET):
        words.append("cannot set Complete=True and FailureTarget=true conditions")
    words += _announced(new, old)
    if both(SUCCESS_CRITERIA_MET, FAILED):
        words.append("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if both(SUCCESS_CRITERIA_MET, FAILURE_TARGET):
        words.append("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if new.spec.HasField("success_policy") and is_true(new.status, COMPLETE) and not is_true(new.status, SUCCESS_CRITERIA_MET):
        words.append("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
    for kind in (FAILED, COMPLETE, FAILURE_TARGET):
        if is_true(old.status, kind) and not is_true(new.status, kind):
            words.append(f"cannot disable the terminal {kind}=True condition")
    if is_true(old.status, SUCCESS_CRITERIA_MET) and not is_true(new.status, SUCCESS_CRITERIA_MET):
        words.append("cannot disable the SuccessCriteriaMet=True condition")
    if is_true(old.status, COMPLETE) and not is_true(old.status, SUCCESS_CRITERIA_MET) and is_true(new.status, SUCCESS_CRITERIA_MET):
        words.append("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
    return [invalid_as_it_is(CONDITIONS, sentence) for sentence in words]


def _announced(new: batch.Job, old: batch.Job) -> Iterable[str]:
    """An end is announced before it comes, or with it. Asked of those whom ``managedBy`` names: the controllers of older Kubernetes,
    which know no such field, announce nothing."""
    if is_ours(new):
        return
    if _turns(new, old, FAILED, FAILURE_TARGET) and is_true(new.status, FAILED) and not is_true(new.status, FAILURE_TARGET):
        yield "cannot set Failed=True condition without the FailureTarget=true condition"
    turns = _turns(new, old, COMPLETE, SUCCESS_CRITERIA_MET)
    if turns and is_true(new.status, COMPLETE) and not is_true(new.status, SUCCESS_CRITERIA_MET):
        yield "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"


def _times(new: batch.Job, old: batch.Job) -> list[Cause]:
    status, was = new.status, old.status
    started, completed = status.HasField("start_time"), status.HasField("completion_time")
    complete = is_true(status, COMPLETE)
    causes: list[Cause] = []
    if _turns(new, old, COMPLETE) or _changes(new, old, "completion_time"):
        if completed and not complete:
            words = "cannot set completionTime when there is no Complete=True condition"
            causes.append(invalid(COMPLETION, write_time(status.completion_time), words))
        if complete and not completed:
            causes.append(required(COMPLETION, "completionTime is required for Complete jobs"))
    backwards = started and completed and to_datetime(status.completion_time) < to_datetime(status.start_time)
    if backwards and _changes(new, old, "start_time", "completion_time"):
        causes.append(invalid(COMPLETION, write_time(status.completion_time), "completionTime cannot be set before startTime"))
    if completed and was.HasField("completion_time") and status.completion_time != was.completion_time:
        causes.append(invalid(COMPLETION, write_time(status.completion_time), "completionTime cannot be mutated"))
    resumed = is_true(was, SUSPENDED) and not is_true(status, SUSPENDED)
    if was.HasField("start_time") and _changes(new, old, "start_time") and not new.spec.suspend and not resumed:
        shown = write_time(status.start_time) if started else None
        causes.append(invalid(START, shown, "field is immutable for unsuspended job once set"))
    return causes


def _finished(new: batch.Job, old: batch.Job) -> list[Cause]:
    """What a Job that is over has not any more."""
    if not is_finished(new):
        return []
    status, ends = new.status, not is_finished(old)
    causes: list[Cause] = []
    if (ends or _changes(new, old, "active")) and status.active > 0:
        causes.append(invalid(STATUS.child("active"), status.active, "active>0 is invalid for finished job"))
    if (ends or _changes(new, old, "start_time")) and not status.HasField("start_time"):
        causes.append(required(START, "startTime is required for finished job"))
    left = status.uncounted_terminated_pods
    if (ends or _changes(new, old, "uncounted_terminated_pods")) and (left.succeeded or left.failed):
        causes.append(invalid_as_it_is(UNCOUNTED, "uncountedTerminatedPods needs to be empty for finished job"))
    if (ends or _changes(new, old, "terminating")) and status.terminating > 0:
        causes.append(invalid(STATUS.child("terminating"), status.terminating, "terminating>0 is invalid for finished job"))
    return causes


def _indexes(new: batch.Job, old: batch.Job) -> list[Cause]:
    spec, status = new.spec, new.status
    causes: list[Cause] = []
    completed, failed = STATUS.child("completedIndexes"), STATUS.child("failedIndexes")
    if _changes(new, old, "completed_indexes"):
        if spec.HasField("completions") and (wrong := _wrong(status.completed_indexes, spec.completions)):
            causes.append(invalid(completed, status.completed_indexes, f"error parsing completedIndexes: {wrong}"))
        if status.completed_indexes and spec.completion_mode != INDEXED:
            words = "cannot set non-empty completedIndexes when non-indexed completion mode"
            causes.append(invalid(completed, status.completed_indexes, words))
    if _changes(new, old, "failed_indexes") and status.HasField("failed_indexes"):
        if not spec.HasField("backoff_limit_per_index"):
            words = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            causes.append(invalid(failed, status.failed_indexes, words))
        elif spec.HasField("completions") and (wrong := _wrong(status.failed_indexes, spec.completions)):
            causes.append(invalid(failed, status.failed_indexes, f"error parsing failedIndexes: {wrong}"))
    if _changes(new, old, "completed_indexes", "failed_indexes") and (common := _common(new)) is not None:
        causes.append(invalid(failed, status.failed_indexes, f"failedIndexes and completedIndexes overlap at index: {common}"))
    return causes


def _wrong(text: str, completions: int) -> str:
    try:
        parse_indexes(text, completions)
    except Malformed as error:
        return str(error)
    return ""


def _common(job: batch.Job) -> int | None:
    """An index that is said to be completed and failed; a text that makes no sense is refused for that."""
    try:
        completed, failed = (
            parse_indexes(text, job.spec.completions) for text in (job.status.completed_indexes, job.status.failed_indexes)
        )
    except Malformed:
        return None
    return first_common(completed, failed)


def _counters(new: batch.Job, old: batch.Job) -> list[Cause]:
    causes: list[Cause] = []
    if new.status.failed < old.status.failed:
        causes.append(invalid(STATUS.child("failed"), new.status.failed, "cannot decrease the failed counter"))
    if new.status.succeeded < old.status.succeeded and not _forgets_indexes(new):
        causes.append(invalid(STATUS.child("succeeded"), new.status.succeeded, "cannot decrease the succeeded counter"))
    return causes


def _forgets_indexes(job: batch.Job) -> bool:
    """An indexed Job that is made smaller counts its completed indexes anew. Kubernetes lets it while completions and parallelism are
    equal, so that a change of the one after the other was made smaller holds up its controller for good."""
    if job.spec.completion_mode != INDEXED:
        return False
    if job.spec.completions == job.spec.parallelism:
        return True
    try:
        return bool(job.status.succeeded == count(parse_indexes(job.status.completed_indexes, job.spec.completions)))
    except Malformed:
        return False

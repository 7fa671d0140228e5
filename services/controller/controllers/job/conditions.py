"""The conditions of a Job: first why it is to end (FailureTarget, SuccessCriteriaMet), then, when all is counted and gone, that it has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.machinery.times import to_time
from knarr.objects.conditions import get_condition, is_true, set_condition
from knarr.objects.jobs import COMPLETE, FAILED

FAILURE_TARGET, SUCCESS_CRITERIA_MET, SUSPENDED = "FailureTarget", "SuccessCriteriaMet", "Suspended"


@dataclass(frozen=True, slots=True)
class Verdict:
    """That a Job is to end, and why. ``success``: as Complete, not as Failed."""

    success: bool
    reason: str
    message: str

    @property
    def interim(self) -> str:
        """The type of the condition that says so until it is over."""
        return SUCCESS_CRITERIA_MET if self.success else FAILURE_TARGET

    @property
    def final(self) -> str:
        return COMPLETE if self.success else FAILED


COMPLETIONS_REACHED = Verdict(True, "CompletionsReached", "Reached expected number of succeeded pods")
BACKOFF_LIMIT_EXCEEDED = Verdict(False, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE_EXCEEDED = Verdict(False, "DeadlineExceeded", "Job was active longer than specified deadline")
MAX_FAILED_INDEXES_EXCEEDED = Verdict(False, "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes")
FAILED_INDEXES = Verdict(False, "FailedIndexes", "Job has failed indexes")


def pod_failure(message: str) -> Verdict:
    """A pod failed in a way that the failure policy says is the end of the Job."""
    return Verdict(False, "PodFailurePolicy", message)


def success_policy(message: str) -> Verdict:
    return Verdict(True, "SuccessPolicy", message)


def standing_verdict(status: batch.JobStatus) -> Verdict | None:
    """The verdict that a status tells of already."""
    for success, interim in ((True, SUCCESS_CRITERIA_MET), (False, FAILURE_TARGET)):
        condition = get_condition(status, interim)
        if condition is not None and is_true(status, interim):
            return Verdict(success, condition.reason, condition.message)
    return None


def set_job_condition(status: batch.JobStatus, kind: str, value: bool, reason: str, message: str, now: datetime) -> bool:
    """Sets it and says whether it changed. One that was never true is not said to be false."""
    if not value and get_condition(status, kind) is None:
        return False
    changed = set_condition(status, kind, value, reason=reason, message=message, now=now)
    if changed:
        condition = get_condition(status, kind)
        assert condition is not None
        condition.last_probe_time.CopyFrom(to_time(now))
    return changed

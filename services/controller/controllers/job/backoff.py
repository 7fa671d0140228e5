"""How long a Job waits before it replaces what failed: 10 s after the first failure in a row, twice as long after each further one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.client import backoff
from knarr.objects.pods import SUCCEEDED
from services.controller.controllers.job.pods import counted_failures, finished_at, ignored_failures

LAW = backoff.Backoff(first_seconds=10.0, limit_seconds=600.0)
NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Backoff:
    """``failures`` in a row since the last pod that succeeded, the latest ``at`` that time."""

    failures: int = 0
    at: datetime = NEVER

    def after(self, succeeded: Iterable[core.Pod], failed: Iterable[core.Pod]) -> Backoff:
        """What comes of it when these pods have ended besides."""
        ends = [finished_at(pod) for pod in failed]
        successes = [finished_at(pod) for pod in succeeded]
        if successes:
            last = max(successes)
            ends = [end for end in ends if end > last]
        before = NO_BACKOFF if successes else self
        return Backoff(before.failures + len(ends), max([before.at, *ends])) if ends else before

    def remaining_seconds(self, now: datetime) -> float:
        """How long nothing is made yet; 0 when it may be."""
        if not self.failures:
            return 0.0
        return max(LAW.delay(self.failures) - (now - self.at).total_seconds(), 0.0)


NO_BACKOFF = Backoff()


def of(ended: Iterable[core.Pod]) -> Backoff:
    """What the pods that are left tell: for a controller that has not seen them end."""
    pods = list(ended)
    succeeded = [pod for pod in pods if pod.status.phase == SUCCEEDED]
    return NO_BACKOFF.after(succeeded, [pod for pod in pods if pod.status.phase != SUCCEEDED])


def of_index(last: core.Pod | None) -> Backoff:
    """Of one index, whose last failed pod says how often its predecessors did."""
    if last is None:
        return NO_BACKOFF
    return Backoff(counted_failures(last) + ignored_failures(last) + 1, finished_at(last))

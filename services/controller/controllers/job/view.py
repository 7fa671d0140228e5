"""A Job and its pods as they are when it is synced, and what of that is news. Pure.

What the controller has done already and its caches do not show yet is part of the view: pods whose tracking finalizer it has taken
(``released``), pods it has deleted (``doomed``), and how many it has created (``unseen``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects import jobs
from knarr.objects.keys import is_deleting
from knarr.objects.pods import SUCCEEDED, is_active, is_finished
from services.controller.controllers.job.backoff import NO_BACKOFF, Backoff
from services.controller.controllers.job.indexes import Indexes
from services.controller.controllers.job.pods import NO_INDEX, counted_failures, finished_at, ignored_failures, index_of, is_failed
from services.controller.controllers.job.policy import FAIL_INDEX, match_failure


@dataclass(frozen=True)
class JobView:
    """``pods`` are the Job's own that it has not counted or that still run; ``before`` is the backoff until they ended.

    ``settled`` is False while own writes are still unseen: then no pod is created, and none is deleted as one too many.
    """

    job: batch.Job
    pods: Sequence[core.Pod]
    now: datetime
    before: Backoff = NO_BACKOFF
    released: Set[str] = frozenset()
    doomed: Set[str] = frozenset()
    unseen: int = 0

    @property
    def settled(self) -> bool:
        return not self.unseen and not self.doomed

    @property
    def is_indexed(self) -> bool:
        return bool(self.job.spec.completion_mode == "Indexed")

    @property
    def limits_indexes(self) -> bool:
        """Whether each index has a limit of failures of its own."""
        return self.is_indexed and self.job.spec.HasField("backoff_limit_per_index")

    def is_tracked(self, pod: core.Pod) -> bool:
        return jobs.is_tracked(pod) and pod.metadata.uid not in self.released

    def has_failed(self, pod: core.Pod) -> bool:
        return is_failed(pod, self.job.spec)

    def index_of(self, pod: core.Pod) -> int:
        """The completion index of a pod; NO_INDEX where it is none of this Job's."""
        index = index_of(pod)
        return index if index < self.job.spec.completions else NO_INDEX

    # Pods.

    @cached_property
    def active(self) -> list[core.Pod]:
        return [pod for pod in self.pods if is_active(pod) and pod.metadata.uid not in self.doomed]

    @cached_property
    def terminating(self) -> list[core.Pod]:
        """Those that are being deleted and have not ended."""
        return [pod for pod in self.pods if not is_finished(pod) and (is_deleting(pod) or pod.metadata.uid in self.doomed)]

    @cached_property
    def newly_succeeded(self) -> list[core.Pod]:
        return self._news(self.job.status.uncounted_terminated_pods.succeeded, lambda pod: bool(pod.status.phase == SUCCEEDED))

    @cached_property
    def newly_failed(self) -> list[core.Pod]:
        return self._news(self.job.status.uncounted_terminated_pods.failed, self.has_failed)

    def _news(self, uncounted: Sequence[str], ended: Callable[[core.Pod], bool]) -> list[core.Pod]:
        known = set(uncounted)
        return [pod for pod in self.pods if ended(pod) and pod.metadata.uid not in known and self.is_tracked(pod) and self._counts(pod)]

    def _counts(self, pod: core.Pod) -> bool:
        return not self.is_indexed or self.index_of(pod) != NO_INDEX

    # Counts.

    @cached_property
    def succeeded(self) -> int:
        """With those that no status counts yet."""
        if self.is_indexed:
            return len(self.completed_indexes)
        status = self.job.status
        return status.succeeded + len(self.newly_succeeded) + len(status.uncounted_terminated_pods.succeeded)

    @cached_property
    def failed(self) -> int:
        """With those that no status counts yet, without those that the failure policy ignores."""
        status = self.job.status
        counted = sum(1 for pod in self.newly_failed if match_failure(self.job.spec, pod).counts)
        return status.failed + counted + len(status.uncounted_terminated_pods.failed)

    @cached_property
    def backoff(self) -> Backoff:
        return self.before.after(self.newly_succeeded, self.newly_failed)

    # Indexes.

    @cached_property
    def indexes_before(self) -> Indexes:
        """Those that the status says have succeeded."""
        return Indexes.parse(self.job.status.completed_indexes, self.job.spec.completions)

    @cached_property
    def completed_indexes(self) -> Indexes:
        return self.indexes_before | Indexes.of(self.index_of(pod) for pod in self.newly_succeeded)

    @cached_property
    def failed_indexes(self) -> Indexes:
        """Of a Job that limits the failures of each index: those that are given up."""
        if not self.limits_indexes:
            return Indexes()
        failed = (self.index_of(pod) for pod in self.pods if self._gives_up_index(pod))
        before = Indexes.parse(self.job.status.failed_indexes, self.job.spec.completions)
        return before | Indexes.of(index for index in failed if index != NO_INDEX)

    def _gives_up_index(self, pod: core.Pod) -> bool:
        if not self.is_tracked(pod) or not self.has_failed(pod):
            return False
        match = match_failure(self.job.spec, pod)
        if match.action == FAIL_INDEX:
            return True
        return match.counts and counted_failures(pod) >= self.job.spec.backoff_limit_per_index

    @cached_property
    def active_indexes(self) -> Indexes:
        return self._indexes_of(self.active)

    @cached_property
    def terminating_indexes(self) -> Indexes:
        return self._indexes_of(self.terminating)

    def _indexes_of(self, pods: Sequence[core.Pod]) -> Indexes:
        return Indexes.of(index for pod in pods if (index := index_of(pod)) != NO_INDEX)

    @cached_property
    def to_replace(self) -> Mapping[int, core.Pod]:
        """The last failed pod of each index that is to be tried again: it is kept until its successor has taken over its counts."""
        last: dict[int, core.Pod] = {}
        if not self.limits_indexes:
            return last
        for pod in self.pods:
            index = self.index_of(pod)
            if index == NO_INDEX or not self.is_tracked(pod) or not self.has_failed(pod):
                continue
            if index in self.completed_indexes or index in self.failed_indexes or index in self.active_indexes:
                continue
            if index not in last or _seniority(last[index]) <= _seniority(pod):
                last[index] = pod
        return last


def _seniority(pod: core.Pod) -> tuple[int, datetime]:
    return counted_failures(pod) + ignored_failures(pod), finished_at(pod)

"""What a Job decides, told one by one; and that it counts each pod once, whatever happens, against a plain ledger."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.conditions import is_true
from knarr.objects.copies import copy_of
from knarr.objects.jobs import TRACKING, is_tracked
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_active, is_finished
from services.apiserver.strategies.jobstatus import validate_job_status
from services.controller.controllers.job.backoff import NO_BACKOFF, Backoff, of, of_index
from services.controller.controllers.job.conditions import BACKOFF_LIMIT_EXCEEDED, COMPLETIONS_REACHED
from services.controller.controllers.job.counting import MAX_UNCOUNTED, count_released, finish, running, tally
from services.controller.controllers.job.decide import decide
from services.controller.controllers.job.indexes import Indexes
from services.controller.controllers.job.making import make_indexed_pod, make_pod
from services.controller.controllers.job.pods import FAILURES, IGNORED_FAILURES, finished_at, index_of
from services.controller.controllers.job.policy import match_failure, match_success
from services.controller.controllers.job.view import JobView
from tests.controller.objects import job, pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(completions: int | None = 3, parallelism: int = 2, **spec: object) -> batch.Job:
    """As the API server would have it."""
    made = job("sums", completions, parallelism, **spec)
    made.metadata.uid = "uid-sums"
    if not made.spec.HasField("backoff_limit"):
        made.spec.backoff_limit = 1000
    return made


def ended(name: str, phase: str, seconds_ago: float = 0.0, exit_code: int = 0) -> core.Pod:
    made = pod(name, phase=phase)
    made.metadata.finalizers.append(TRACKING)
    state = made.status.container_statuses.add(name="app").state.terminated
    state.finished_at.CopyFrom(to_time(NOW - timedelta(seconds=seconds_ago)))
    state.exit_code = exit_code
    return made


# Indexes.


@pytest.mark.parametrize(
    ("text", "completions", "said", "count"),
    [
        ("", 10, "", 0),
        ("1", 10, "1", 1),
        ("1,2,3", 10, "1-3", 3),
        ("1,3-5,7", 10, "1,3-5,7", 5),
        ("0-1", 10, "0,1", 2),
        ("5-20", 8, "5-7", 3),
        ("9", 8, "", 0),
        ("7,1,x,2-,3-1,-4", 10, "1,7", 2),
    ],
)
def test_indexes_are_written_as_kubernetes_writes_them(text: str, completions: int, said: str, count: int) -> None:
    found = Indexes.parse(text, completions)
    assert (str(found), len(found)) == (said, count)


@pytest.mark.parametrize("seed", range(50))
def test_indexes_are_sets(seed: int) -> None:
    source = random.Random(seed)
    first, second = ({source.randrange(30) for _ in range(source.randrange(20))} for _ in range(2))
    both = Indexes.of(first) | Indexes.of(second)
    assert {index for index in range(40) if index in both} == first | second
    assert len(both) == len(first | second) and Indexes.of(first).overlap(Indexes.of(second)) == len(first & second)
    assert [*both.missing(30)] == sorted(set(range(30)) - first - second)
    assert Indexes.parse(str(both), 30) == both


# Policies.


def policy(*rules: batch.PodFailurePolicyRule) -> batch.JobSpec:
    return batch.JobSpec(pod_failure_policy=batch.PodFailurePolicy(rules=rules))


def on_codes(action: str, operator: str, *values: int, container: str | None = None) -> batch.PodFailurePolicyRule:
    rule = batch.PodFailurePolicyRule(action=action)
    rule.on_exit_codes.operator = operator
    rule.on_exit_codes.values.extend(values)
    if container is not None:
        rule.on_exit_codes.container_name = container
    return rule


@pytest.mark.parametrize(
    ("rules", "code", "action"),
    [
        ([on_codes("Ignore", "In", 1, 2)], 2, "Ignore"),
        ([on_codes("Ignore", "In", 1, 2)], 3, ""),
        ([on_codes("Count", "NotIn", 1)], 3, "Count"),
        # 0 is no failure, whatever is said of it.
        ([on_codes("FailJob", "NotIn", 1)], 0, ""),
        ([on_codes("FailIndex", "In", 3, container="other")], 3, ""),
        ([on_codes("FailIndex", "In", 3, container="app")], 3, "FailIndex"),
        ([on_codes("Count", "In", 3), on_codes("FailJob", "In", 3)], 3, "Count"),
    ],
    ids=range(7),
)
def test_the_first_rule_that_is_about_a_failure_holds(rules: list[batch.PodFailurePolicyRule], code: int, action: str) -> None:
    assert match_failure(policy(*rules), ended("one", "Failed", exit_code=code)).action == action


def test_conditions_of_pods_are_matched_by_type_and_status() -> None:
    rule = batch.PodFailurePolicyRule(action="FailJob")
    rule.on_pod_conditions.add(type="DisruptionTarget", status="True")
    failed = ended("one", "Failed")
    assert match_failure(policy(rule), failed).action == ""
    failed.status.conditions.add(type="DisruptionTarget", status="True")
    assert match_failure(policy(rule), failed).message == "Pod default/one has condition DisruptionTarget matching FailJob rule at index 0"


@pytest.mark.parametrize(
    ("indexes", "count", "succeeded", "met"),
    [("1-3", None, "1-3", True), ("1-3", None, "1,2", False), ("1-3", 2, "1,2,9", True), (None, 2, "8,9", True), (None, 3, "8,9", False)],
)
def test_a_success_policy_asks_for_indexes_or_for_a_number(indexes: str | None, count: int | None, succeeded: str, met: bool) -> None:
    spec = batch.JobSpec(completions=10)
    rule = spec.success_policy.rules.add()
    if indexes is not None:
        rule.succeeded_indexes = indexes
    if count is not None:
        rule.succeeded_count = count
    assert match_success(spec, Indexes.parse(succeeded, 10)) == ("Matched rules at index 0" if met else "")


# Backoff.


def test_failures_in_a_row_wait_twice_as_long_each_and_ten_minutes_at_most() -> None:
    waits = [Backoff(failures, NOW).remaining_seconds(NOW) for failures in (0, 1, 2, 3, 7, 100)]
    assert waits == [0.0, 10.0, 20.0, 40.0, 600.0, 600.0]
    assert Backoff(1, NOW - timedelta(seconds=4)).remaining_seconds(NOW) == 6.0


def test_a_success_begins_the_row_anew() -> None:
    failed = [ended("one", "Failed", 30), ended("two", "Failed", 10)]
    assert Backoff(5, NOW).after([], []) == Backoff(5, NOW)
    assert NO_BACKOFF.after([], failed) == Backoff(2, NOW - timedelta(seconds=10))
    assert Backoff(5, NOW).after([ended("three", "Succeeded", 20)], failed) == Backoff(1, NOW - timedelta(seconds=10))
    assert Backoff(5, NOW).after([ended("three", "Succeeded", 5)], failed) == NO_BACKOFF
    assert of([*failed, ended("three", "Succeeded", 20)]) == Backoff(1, NOW - timedelta(seconds=10))


def test_an_index_carries_on_its_failures() -> None:
    limited = a_job(
        3,
        3,
        completion_mode="Indexed",
        backoff_limit_per_index=2,
        pod_failure_policy=policy(on_codes("Ignore", "In", 5)).pod_failure_policy,
    )
    first = make_indexed_pod(limited, 1)
    assert (first.metadata.annotations[FAILURES], IGNORED_FAILURES in first.metadata.annotations) == ("0", False)
    first.status.container_statuses.add(name="app").state.terminated.exit_code = 5
    second = make_indexed_pod(limited, 1, first)
    assert (second.metadata.annotations[FAILURES], second.metadata.annotations[IGNORED_FAILURES]) == ("0", "1")
    third = make_indexed_pod(limited, 1, second)
    assert (third.metadata.annotations[FAILURES], third.metadata.annotations[IGNORED_FAILURES]) == ("1", "1")
    assert of_index(third).failures == 3 and of_index(None) == NO_BACKOFF


def test_a_pod_ends_with_its_last_container_or_when_it_was_deleted() -> None:
    made = ended("one", "Failed", 9)
    assert finished_at(made) == NOW - timedelta(seconds=9)
    deleted = core.Pod()
    deleted.metadata.deletion_timestamp.CopyFrom(to_time(NOW))
    deleted.metadata.deletion_grace_period_seconds = 30
    assert finished_at(deleted) == NOW - timedelta(seconds=30)
    # Longer than there are dates: since it was made.
    deleted.metadata.deletion_grace_period_seconds = 2**63 - 1
    deleted.metadata.creation_timestamp.CopyFrom(to_time(NOW))
    assert finished_at(deleted) == NOW


def test_a_long_name_is_cut_and_its_index_is_not() -> None:
    long = a_job(12, 2, completion_mode="Indexed")
    long.metadata.name = "j" * 60
    made = make_indexed_pod(long, 11)
    assert len(made.metadata.name) == 63 and made.metadata.name[-9:-5] == "-11-"


# Which pods go.


def test_of_two_pods_of_an_index_the_one_that_came_further_stays_and_strangers_go() -> None:
    indexed = a_job(2, 2, completion_mode="Indexed")
    pods = [make_indexed_pod(indexed, index) for index in (0, 0, 1, 7)]
    for number, made in enumerate(pods):
        made.metadata.uid, made.status.phase = f"uid-{number}", "Pending"
    pods[1].spec.node_name, pods[1].status.phase = "node-1", "Running"
    plan = decide(JobView(indexed, pods, NOW), burst=500)
    assert {found.metadata.uid for found in plan.dismiss} == {"uid-0", "uid-3"} and not plan.create


def test_a_pod_whose_end_would_not_be_counted_goes_first_or_is_tracked_again() -> None:
    """Its controller died after it had taken the finalizer, before it deleted the pod."""
    many = a_job(9, 2)
    pods = [make_pod(many) for _ in range(3)]
    for number, made in enumerate(pods):
        made.metadata.uid, made.status.phase, made.spec.node_name = f"uid-{number}", "Running", "node-1"
    pods[1].metadata.finalizers.remove(TRACKING)
    assert [found.metadata.uid for found in decide(JobView(many, pods, NOW), burst=500).dismiss] == ["uid-1"]
    many.spec.parallelism = 3
    plan = decide(JobView(many, pods, NOW), burst=500)
    assert [found.metadata.uid for found in plan.track] == ["uid-1"] and not plan.dismiss


def test_nothing_is_created_while_own_writes_are_unseen() -> None:
    waiting = a_job(9, 4)
    assert len(decide(JobView(waiting, [], NOW), burst=500).create) == 4
    assert len(decide(JobView(waiting, [], NOW), burst=3).create) == 3
    assert not decide(JobView(waiting, [], NOW, unseen=1), burst=500).create
    assert not decide(JobView(waiting, [], NOW, doomed={"uid-1"}), burst=500).create


def test_only_so_many_uids_stand_in_a_status() -> None:
    many = a_job(1000, 1000)
    pods = [ended(f"{number}", "Succeeded") for number in range(MAX_UNCOUNTED + 20)]
    view = JobView(many, pods, NOW)
    told = tally(view, decide(view, burst=500), running(view))
    assert len(told.status.uncounted_terminated_pods.succeeded) == len(told.release) == MAX_UNCOUNTED and not told.whole


# Counting.


@dataclass
class World:
    """A Job, its pods and a controller that dies at random; pods end, are deleted and vanish when they may.

    ``ledger`` is what an honest clerk would have written down: how each pod ended that was not dismissed.
    """

    source: random.Random
    job: batch.Job
    pods: dict[str, core.Pod] = field(default_factory=dict)
    ledger: dict[str, str] = field(default_factory=dict)
    dismissed: set[str] = field(default_factory=set)
    made: int = 0
    now: datetime = NOW

    def live(self) -> list[core.Pod]:
        return [found for found in self.pods.values() if is_tracked(found) or not is_finished(found)]

    def dies(self) -> bool:
        return self.source.random() < 0.15

    def sync(self) -> None:
        """One of the controller, cut short wherever it dies. Each life begins with what the server has."""
        view = JobView(copy_of(self.job), [copy_of(found) for found in self.live()], self.now)
        plan = decide(view, burst=500)
        for chosen in (*plan.dismiss, *plan.end):
            if self.dies():
                return
            found = self.pods[chosen.metadata.uid]
            if chosen in plan.dismiss:
                if is_tracked(found):
                    found.metadata.finalizers.remove(TRACKING)
                if self.dies():
                    return
                self.dismissed.add(chosen.metadata.uid)
            found.metadata.deletion_timestamp.CopyFrom(to_time(self.now))
        for chosen in plan.track:
            self.pods[chosen.metadata.uid].metadata.finalizers.append(TRACKING)
        for created in plan.create:
            if self.dies():
                return
            self.made += 1
            created.metadata.uid, created.status.phase = f"uid-{self.made}", "Running"
            self.pods[created.metadata.uid] = created
        released = {found.metadata.uid for found in plan.dismiss}
        told = tally(replace(view, released=released), plan, running(JobView(self.job, self.live(), self.now)))
        if self.dies():
            return
        self.write(told.status)
        for chosen in told.release:
            if self.dies():
                return
            self.pods[chosen.metadata.uid].metadata.finalizers.remove(TRACKING)
        if self.dies():
            return
        status = copy_of(self.job.status)
        count_released(status, {found.metadata.uid for found in self.pods.values() if is_tracked(found)})
        if plan.verdict is not None and told.whole:
            finish(status, plan.verdict, self.now)
        self.write(status)

    def write(self, status: batch.JobStatus) -> None:
        """As the API server takes it."""
        old = copy_of(self.job)
        self.job.status.CopyFrom(status)
        assert validate_job_status(self.job, old) == []

    def live_on(self) -> None:
        """Something happens to some pods."""
        self.now += timedelta(seconds=self.source.choice((1, 20, 700)))
        for uid, found in [*self.pods.items()]:
            chance = self.source.random()
            if is_finished(found) or is_deleting(found):
                if is_deleting(found) and not is_finished(found) and chance < 0.5:
                    found.status.phase = "Failed"
                if is_deleting(found) and is_finished(found) and not is_tracked(found):
                    del self.pods[uid]
            elif chance < 0.2:
                self._end(found, "Succeeded")
            elif chance < 0.35:
                self._end(found, "Failed")
            elif chance < 0.4:
                found.metadata.deletion_timestamp.CopyFrom(to_time(self.now))
                self._end(found, "", "Failed")
        if self.source.random() < 0.1:
            self.job.spec.parallelism = self.source.randrange(5)
        if self.source.random() < 0.05:
            self.job.spec.suspend = not self.job.spec.suspend

    def _end(self, found: core.Pod, phase: str, word: str = "") -> None:
        if phase:
            found.status.phase = phase
        if is_tracked(found):
            self.ledger[found.metadata.uid] = word or phase

    def count(self, word: str) -> int:
        return sum(1 for uid, said in self.ledger.items() if said == word and uid not in self.dismissed)


def test_a_job_is_not_over_before_it_began_whatever_was_done_to_the_clock() -> None:
    found = a_job(1)
    found.status.start_time.CopyFrom(to_time(NOW + timedelta(hours=1)))
    status = copy_of(found.status)
    assert finish(status, COMPLETIONS_REACHED, NOW)
    assert status.completion_time == status.start_time


def test_a_job_that_ends_while_it_is_suspended_says_when_it_began() -> None:
    status = batch.JobStatus()
    assert finish(status, BACKOFF_LIMIT_EXCEEDED, NOW)
    assert status.start_time == to_time(NOW) and not status.HasField("completion_time")


@pytest.mark.parametrize("seed", range(60))
def test_each_pod_is_counted_once_whatever_dies(seed: int) -> None:
    source = random.Random(seed)
    world = World(source, a_job(source.randrange(1, 12), source.randrange(1, 5)))
    for _ in range(400):
        world.sync()
        noted = world.job.status.uncounted_terminated_pods
        assert len({*noted.succeeded, *noted.failed}) == len(noted.succeeded) + len(noted.failed)
        if is_true(world.job.status, "Complete"):
            break
        world.live_on()
    status = world.job.status
    if not is_true(status, "Complete"):
        # Suspended, or without pods: all is counted nevertheless.
        world.source = random.Random(seed + 1000)
        world.dies = lambda: False  # type: ignore[method-assign]
        for _ in range(3):
            world.sync()
    assert (status.succeeded, status.failed) == (world.count("Succeeded"), world.count("Failed"))
    assert not status.uncounted_terminated_pods.succeeded and not status.uncounted_terminated_pods.failed
    if is_true(status, "Complete"):
        assert status.succeeded >= world.job.spec.completions and not [found for found in world.pods.values() if is_active(found)]


@pytest.mark.parametrize("seed", range(40))
def test_each_index_succeeds_once_whatever_dies(seed: int) -> None:
    source = random.Random(seed)
    indexed = a_job(source.randrange(1, 12), source.randrange(1, 5), completion_mode="Indexed", backoff_limit_per_index=source.randrange(3))
    world = World(source, indexed)
    for _ in range(400):
        world.sync()
        if is_true(world.job.status, "Complete") or is_true(world.job.status, "Failed"):
            break
        world.live_on()
        # Each index has one pod at a time.
        active = [index_of(found) for found in world.pods.values() if is_active(found)]
        assert len({*active}) == len(active)
    status, completions = world.job.status, indexed.spec.completions
    succeeded, given_up = Indexes.parse(status.completed_indexes, completions), Indexes.parse(status.failed_indexes, completions)
    assert status.succeeded == len(succeeded) and not succeeded.overlap(given_up)
    if is_true(status, "Complete"):
        assert len(succeeded) == completions
    if is_true(status, "Failed"):
        assert len(succeeded) + len(given_up) == completions and given_up.intervals

"""The Job controller on the API server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import EventRecorder
from knarr.client.informer import Informers
from knarr.machinery.errors import status_error
from knarr.objects.conditions import is_true
from knarr.objects.jobs import TRACKING
from knarr.objects.owners import controller_of
from services.controller.controller import Context
from services.controller.controllers.garbagecollector.controller import GarbageCollector
from services.controller.controllers.job.controller import JobController
from services.controller.controllers.job.pods import INDEX, index_of
from services.controller.controllers.jobrelease.controller import JobReleaseController
from services.controller.controllers.podgc.controller import PodGarbageCollector
from services.controller.settings import ControllerSettings
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import job, node, template
from tests.support.mishaps import Fate, FatedClient, Kind, Mishap
from tests.support.rights import CONTROLLER
from tests.support.virtual_time import VirtualClock, virtual_time

# Without those that look after nodes: the tests' nodes send no heartbeats.
CONTROLLERS = (JobController, JobReleaseController, GarbageCollector, PodGarbageCollector)


def the_job(c: Cluster, name: str = "sums") -> batch.Job:
    return next(found for found in c.api.all(batch.Job) if found.metadata.name == name)


def conditions(c: Cluster) -> list[tuple[str, str, str]]:
    return [(found.type, found.status, found.reason) for found in the_job(c).status.conditions]


def is_over(c: Cluster, kind: str = "Complete", name: str = "sums") -> bool:
    return is_true(the_job(c, name).status, kind)


def counts(c: Cluster) -> tuple[int, int, int, int, int]:
    status = the_job(c).status
    return status.active, status.ready, status.terminating, status.succeeded, status.failed


async def ended(c: Cluster, name: str, phase: str, *, exit_code: int = 0, condition: str = "") -> None:
    """A pod ends as somebody else's kubelet would tell."""

    def end(found: core.Pod) -> None:
        found.status.phase = phase
        if exit_code:
            found.status.container_statuses.add(name="app").state.terminated.exit_code = exit_code
        if condition:
            found.status.conditions.add(type=condition, status="True")

    await c.edit(core.Pod, name, end, subresource="status")


@virtual_time
async def test_it_runs_to_completion() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        c.kubelet.ending = lambda pod: "Succeeded"
        await c.client.create(job(completions=5, parallelism=2))
        await c.until(lambda: is_over(c))
        assert counts(c) == (0, 0, 0, 5, 0)
        assert conditions(c) == [("SuccessCriteriaMet", "True", "CompletionsReached"), ("Complete", "True", "CompletionsReached")]
        assert the_job(c).status.HasField("completion_time") and the_job(c).status.HasField("uncounted_terminated_pods")
        assert len(c.api.all(core.Pod)) == 5 and not any(found.metadata.finalizers for found in c.api.all(core.Pod))
        await c.until(lambda: c.events("Completed") == ["Job completed"])


@virtual_time
async def test_never_more_run_than_are_to_run_at_a_time() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        c.api.latency_seconds = 0.05
        c.kubelet.ending = lambda pod: "Succeeded"
        await c.client.create(job(completions=9, parallelism=4))
        while not is_over(c):
            assert len(c.active_pods()) <= 4
            await asyncio.sleep(0.02)
        assert len(c.api.all(core.Pod)) == 9


@virtual_time
async def test_what_fails_is_replaced_after_a_while_and_after_so_many_failures_no_more() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        c.kubelet.ending = lambda pod: "Failed"
        await c.client.create(job(backoff_limit=2))
        made: dict[str, float] = {}
        while not is_over(c, "Failed"):
            for found in c.api.all(core.Pod):
                made.setdefault(found.metadata.name, asyncio.get_running_loop().time())
            await asyncio.sleep(0.1)
        first, second, third = made.values()
        # The time at which a pod without a container ended is that of its creation, in whole seconds.
        assert 8 <= second - first <= 11 and 18 <= third - second <= 21
        assert counts(c) == (0, 0, 0, 0, 3)
        assert [reason for _, _, reason in conditions(c)] == ["BackoffLimitExceeded"] * 2
        await c.until(lambda: c.events("BackoffLimitExceeded") == ["Job has reached the specified backoff limit"])


@virtual_time
async def test_indexes_are_told_to_their_pods_and_kept_in_the_status() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        await c.client.create(job("sums", 4, 2, completion_mode="Indexed"))
        await c.until(lambda: len(c.ready_pods()) == 2)
        by_index = {index_of(found): found for found in c.ready_pods()}
        assert sorted(by_index) == [0, 1]
        first = by_index[1]
        assert first.metadata.labels[INDEX] == "1" and first.spec.hostname == "sums-1" and first.metadata.name.startswith("sums-1-")
        variable = first.spec.containers[0].env[0]
        assert (variable.name, variable.value_from.field_ref.field_path) == ("JOB_COMPLETION_INDEX", f"metadata.labels['{INDEX}']")
        await ended(c, first.metadata.name, "Succeeded")
        await c.until(lambda: {index_of(found) for found in c.ready_pods()} == {0, 2})
        assert the_job(c).status.completed_indexes == "1"
        await ended(c, by_index[0].metadata.name, "Failed")
        await c.until(lambda: {index_of(found) for found in c.ready_pods()} == {0, 2} and the_job(c).status.failed == 1, 30)
        for _ in range(3):
            for found in c.ready_pods():
                await ended(c, found.metadata.name, "Succeeded")
            await asyncio.sleep(1)
        assert is_over(c) and the_job(c).status.completed_indexes == "0-3" and counts(c) == (0, 0, 0, 4, 1)


@virtual_time
async def test_an_indexed_job_is_elastic() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())

        def resize(size: int) -> Callable[[batch.Job], None]:
            def change(found: batch.Job) -> None:
                found.spec.completions = found.spec.parallelism = size

            return change

        await c.client.create(job("sums", 3, 3, completion_mode="Indexed"))
        await c.until(lambda: len(c.ready_pods()) == 3)
        last = next(found for found in c.ready_pods() if index_of(found) == 2)
        await ended(c, last.metadata.name, "Succeeded")
        await c.until(lambda: the_job(c).status.completed_indexes == "2")
        await c.edit(batch.Job, "sums", resize(1))
        await c.until(lambda: [index_of(found) for found in c.ready_pods()] == [0] and the_job(c).status.succeeded == 0)
        assert the_job(c).status.failed == 0
        await c.edit(batch.Job, "sums", resize(2))
        await c.until(lambda: sorted(index_of(found) for found in c.ready_pods()) == [0, 1])


@virtual_time
async def test_a_suspended_job_has_no_pods_and_one_that_is_resumed_begins_anew() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        await c.client.create(job(completions=2, parallelism=2, active_deadline_seconds=30))
        await c.until(lambda: len(c.ready_pods()) == 2)
        started = the_job(c).status.start_time.seconds
        await asyncio.sleep(20)
        await c.edit(batch.Job, "sums", lambda found: setattr(found.spec, "suspend", True))
        await c.until(lambda: not c.api.all(core.Pod))
        assert conditions(c) == [("Suspended", "True", "JobSuspended")] and not the_job(c).status.HasField("start_time")
        # No pod is left: the template may change.
        await c.edit(batch.Job, "sums", lambda found: found.spec.template.spec.node_selector.update(disk="fast"))
        await c.edit(batch.Job, "sums", lambda found: found.spec.template.spec.node_selector.clear())
        await asyncio.sleep(20)
        await c.edit(batch.Job, "sums", lambda found: setattr(found.spec, "suspend", False))
        await c.until(lambda: len(c.ready_pods()) == 2)
        assert conditions(c) == [("Suspended", "False", "JobResumed")]
        assert the_job(c).status.start_time.seconds > started + 30 and counts(c)[3:] == (0, 0)
        await c.until(lambda: is_over(c, "Failed"), 40)
        assert conditions(c)[1:] == [("FailureTarget", "True", "DeadlineExceeded"), ("Failed", "True", "DeadlineExceeded")]
        await asyncio.sleep(1)
        assert [c.events(reason) for reason in ("Suspended", "Resumed", "DeadlineExceeded")] == [
            ["Job suspended"],
            ["Job resumed"],
            ["Job was active longer than specified deadline"],
        ]


@virtual_time
async def test_a_job_that_begins_suspended_has_no_start_until_it_is_resumed() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        await c.client.create(job(suspend=True))
        await c.until(lambda: conditions(c) == [("Suspended", "True", "JobSuspended")])
        assert not the_job(c).status.HasField("start_time") and not c.api.all(core.Pod)
        await c.edit(batch.Job, "sums", lambda found: setattr(found.spec, "suspend", False))
        await c.until(lambda: len(c.ready_pods()) == 1 and the_job(c).status.HasField("start_time"))


@virtual_time
async def test_pods_that_are_too_many_go_without_being_counted() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        await c.client.create(job(completions=5, parallelism=4))
        await c.until(lambda: len(c.ready_pods()) == 4)
        await c.edit(batch.Job, "sums", lambda found: setattr(found.spec, "parallelism", 1))
        await c.until(lambda: len(c.api.all(core.Pod)) == 1)
        await c.until(lambda: counts(c) == (1, 1, 0, 0, 0))


@virtual_time
async def test_one_success_ends_a_job_without_completions_when_the_others_are_done() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        await c.client.create(job(completions=None, parallelism=3))
        await c.until(lambda: len(c.ready_pods()) == 3)
        first, second, third = (found.metadata.name for found in c.ready_pods())
        await ended(c, first, "Succeeded")
        await asyncio.sleep(5)
        assert not is_over(c) and counts(c) == (2, 2, 0, 1, 0)
        await ended(c, second, "Failed")
        await ended(c, third, "Succeeded")
        await c.until(lambda: is_over(c))
        assert counts(c) == (0, 0, 0, 2, 1) and len(c.api.all(core.Pod)) == 3


@virtual_time
async def test_a_failure_policy_ends_the_job_ignores_or_counts() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        policy = batch.PodFailurePolicy()
        policy.rules.add(action="Ignore").on_pod_conditions.add(type="DisruptionTarget", status="True")
        policy.rules.add(action="FailJob", on_exit_codes=batch.PodFailurePolicyOnExitCodesRequirement(operator="In", values=[42]))
        await c.client.create(job(completions=2, backoff_limit=1, pod_failure_policy=policy))
        await c.until(lambda: len(c.ready_pods()) == 1)
        await ended(c, c.ready_pods()[0].metadata.name, "Failed", exit_code=1, condition="DisruptionTarget")
        await c.until(lambda: len(c.ready_pods()) == 1)
        assert the_job(c).status.failed == 0
        fatal = c.ready_pods()[0].metadata.name
        await ended(c, fatal, "Failed", exit_code=42)
        await c.until(lambda: is_over(c, "Failed"))
        assert [reason for _, _, reason in conditions(c)] == ["PodFailurePolicy"] * 2
        words = f"Container app for pod default/{fatal} failed with exit code 42 matching FailJob rule at index 1"
        assert the_job(c).status.conditions[1].message == words and the_job(c).status.failed == 1


@virtual_time
async def test_a_success_policy_ends_the_job_before_all_indexes_are_done() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        policy = batch.SuccessPolicy()
        policy.rules.add(succeeded_indexes="0,2-3", succeeded_count=1)
        await c.client.create(job("sums", 4, 4, completion_mode="Indexed", success_policy=policy))
        await c.until(lambda: len(c.ready_pods()) == 4)
        by_index = {index_of(found): found.metadata.name for found in c.ready_pods()}
        await ended(c, by_index[1], "Succeeded")
        await asyncio.sleep(2)
        assert not is_over(c)
        await ended(c, by_index[3], "Succeeded")
        await c.until(lambda: is_over(c))
        assert conditions(c) == [("SuccessCriteriaMet", "True", "SuccessPolicy"), ("Complete", "True", "SuccessPolicy")]
        assert the_job(c).status.completed_indexes == "1,3" and counts(c) == (0, 0, 0, 2, 0)
        assert the_job(c).status.conditions[1].message == "Matched rules at index 0"


@virtual_time
async def test_indexes_have_limits_of_their_own_and_only_so_many_may_fail() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        c.kubelet.ending = lambda pod: "Failed" if index_of(pod) else None
        await c.client.create(job("sums", 4, 4, completion_mode="Indexed", backoff_limit_per_index=1, max_failed_indexes=2))
        await c.until(lambda: is_over(c, "Failed"), 90)
        assert conditions(c)[0][2] == "MaxFailedIndexesExceeded"
        assert the_job(c).status.failed_indexes == "1-3"
        # Index 0 ran, and failed with the Job.
        assert the_job(c).status.failed == 7


@virtual_time
async def test_a_pod_that_leaves_is_replaced_at_once_or_when_it_has_ended() -> None:
    for policy, at_once in (("TerminatingOrFailed", True), ("Failed", False)):
        async with cluster(controllers=CONTROLLERS) as c:
            c.api.seed(node())
            c.kubelet.stop_seconds = 30
            await c.client.create(job(pod_replacement_policy=policy))
            await c.until(lambda: len(c.ready_pods()) == 1)
            await c.client.delete(core.Pod, c.ready_pods()[0].metadata.name, "default")
            await asyncio.sleep(20)
            assert bool(c.ready_pods()) is at_once, policy
            assert the_job(c).status.failed == int(at_once)
            await c.until(lambda: len(c.ready_pods()) == 1 and the_job(c).status.failed == 1)


@virtual_time
async def test_a_pod_that_was_never_scheduled_and_is_deleted_has_failed() -> None:
    """Nobody else ever says so but the pods' garbage collector: a Job that replaces only what has ended would wait for ever."""
    async with cluster(controllers=CONTROLLERS) as c:
        c.kubelet.schedules = False
        await c.client.create(job(pod_replacement_policy="Failed"))
        await c.until(lambda: len(c.api.all(core.Pod)) == 1)
        first = c.api.all(core.Pod)[0].metadata.name
        await c.client.delete(core.Pod, first, "default")
        await c.until(lambda: the_job(c).status.failed == 1 and [found.metadata.name for found in c.active_pods()] not in ([], [first]))


@virtual_time
async def test_pods_that_are_restarted_in_place_fail_with_each_restart() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        await c.client.create(job(backoff_limit=3, restart_policy="OnFailure"))
        await c.until(lambda: len(c.ready_pods()) == 1)
        name = c.ready_pods()[0].metadata.name

        def restarted(times: int) -> Callable[[core.Pod], object]:
            return lambda found: found.status.container_statuses.add(name=f"app-{times}", restart_count=times)

        await c.edit(core.Pod, name, restarted(2), subresource="status")
        await asyncio.sleep(5)
        assert not is_over(c, "Failed")
        await c.edit(core.Pod, name, restarted(1), subresource="status")
        await c.until(lambda: is_over(c, "Failed"))
        assert counts(c) == (0, 0, 0, 0, 1) and not c.api.all(core.Pod)


@virtual_time
async def test_it_adopts_what_matches_and_releases_what_does_not() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        stray = core.Pod(spec=template().spec)
        stray.metadata.name, stray.metadata.namespace, stray.metadata.labels["app"] = "stray", "default", "sums"
        await c.client.create(stray)
        wanted = job(completions=2, parallelism=2, manual_selector=True)
        wanted.spec.selector.match_labels["app"] = "sums"
        await c.client.create(wanted)
        await c.until(lambda: len(c.ready_pods()) == 2)
        adopted = next(found for found in c.ready_pods() if found.metadata.name == "stray")
        assert controller_of(adopted) is not None and TRACKING in adopted.metadata.finalizers
        await c.edit(core.Pod, "stray", lambda found: found.metadata.labels.update(app="other"))
        await c.until(lambda: len(c.ready_pods()) == 3)
        released = next(found for found in c.api.all(core.Pod) if found.metadata.name == "stray")
        assert controller_of(released) is None and not released.metadata.finalizers


@virtual_time
async def test_the_pods_of_a_job_that_is_deleted_can_go_or_stay() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        for name in ("back", "front", "kept", "default"):
            await c.client.create(job(name))
        await c.until(lambda: len(c.ready_pods()) == 4)
        await c.client.delete(batch.Job, "back", "default", propagation_policy="Background")
        await c.client.delete(batch.Job, "front", "default", propagation_policy="Foreground")
        await c.client.delete(batch.Job, "kept", "default", propagation_policy="Orphan")
        await c.client.delete(batch.Job, "default", "default")
        await c.until(lambda: not c.api.all(batch.Job) and len(c.api.all(core.Pod)) == 2)
        await c.until(lambda: not any(found.metadata.finalizers for found in c.api.all(core.Pod)))
        assert {found.metadata.labels["job-name"] for found in c.ready_pods()} == {"kept", "default"}


@virtual_time
async def test_a_job_of_another_controller_is_left_alone() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        await c.client.create(job(managed_by="example.com/queue"))
        await asyncio.sleep(5)
        assert not c.api.all(core.Pod) and not the_job(c).status.ByteSize()


@virtual_time
async def test_a_refused_create_is_told_and_tried_again() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        c.api.fail_next(status_error("Forbidden", "exceeded quota"), verb="create", message_type=core.Pod, times=3)
        await c.client.create(job(completions=3, parallelism=3))
        await c.until(lambda: len(c.ready_pods()) == 3)
        assert c.events("FailedCreate") == ["Error creating: exceeded quota"]
        await c.until(lambda: counts(c) == (3, 3, 0, 0, 0))


@virtual_time
async def test_a_leader_that_comes_anew_waits_as_long_as_the_one_before() -> None:
    """Failures in a row are told by the pods that are left."""
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        c.kubelet.ending = lambda pod: "Failed"
        await c.client.create(job(backoff_limit=6))
        await c.until(lambda: the_job(c).status.failed == 2, 30)
    async with cluster(controllers=CONTROLLERS) as other:
        other.api.seed(node(), the_job(c), *c.api.all(core.Pod))
        await asyncio.sleep(8)
        assert len(other.api.all(core.Pod)) == 2


@asynccontextmanager
async def another_leader(c: Cluster) -> AsyncIterator[None]:
    """A Job controller that acts beside the manager's own, and sees pods late."""
    client = FatedClient(c.api.client(CONTROLLER), Fate(Mishap(Kind.BEHIND, late="Pod")))
    informers = Informers(client)
    clock = VirtualClock()
    controller = JobController(Context(client, informers, EventRecorder(client, "test", clock=clock), ControllerSettings(), clock))
    tasks = [asyncio.create_task(informers.run())]
    await informers.wait_synced()
    tasks.append(asyncio.create_task(controller.run()))
    try:
        yield
    finally:
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.wait(tasks)


@virtual_time
async def test_two_leaders_for_a_moment_count_each_pod_once() -> None:
    """The second takes a pod for uncounted that the first has counted, until it asks the server."""
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        # They contradict one another in the counts of what runs: each takes its time.
        c.api.latency_seconds = 0.02
        await c.client.create(job(completions=9, parallelism=2))
        await c.until(lambda: len(c.ready_pods()) == 2)
        async with another_leader(c):
            await asyncio.sleep(3)
            first, second = (found.metadata.name for found in c.ready_pods())
            await ended(c, first, "Failed")
            await c.until(lambda: the_job(c).status.failed == 1)
            await ended(c, second, "Succeeded")
            for _ in range(80):
                await asyncio.sleep(0.1)
                assert (the_job(c).status.succeeded, the_job(c).status.failed) in ((0, 1), (1, 1))
        assert (the_job(c).status.succeeded, the_job(c).status.failed) == (1, 1)


@pytest.mark.timeout(300)
@virtual_time
async def test_five_hundred_jobs_at_once() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        c.kubelet.ready_seconds = lambda pod: 1.0
        c.kubelet.ending = lambda pod: "Succeeded"
        for number in range(500):
            await c.client.create(job(f"job-{number}"))
        # The kubelet starts eight pods at a time, which takes a second.
        await asyncio.sleep(70)
        assert all(is_true(found.status, "Complete") for found in c.api.all(batch.Job))
        assert len(c.api.all(core.Pod)) == 500 and all(found.status.succeeded == 1 for found in c.api.all(batch.Job))


@pytest.mark.timeout(300)
@virtual_time
async def test_a_job_of_a_thousand_indexes() -> None:
    async with cluster(controllers=CONTROLLERS) as c:
        c.api.seed(node())
        c.kubelet.ending = lambda pod: "Succeeded"
        await c.client.create(job("sums", 1000, 100, completion_mode="Indexed"))
        await asyncio.sleep(60)
        assert is_over(c)
        assert the_job(c).status.completed_indexes == "0-999"
        assert sorted(index_of(found) for found in c.api.all(core.Pod)) == [*range(1000)]

"""Job: runs pods until enough of them have succeeded, and counts each once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from google.protobuf.message import Message

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.objects.copies import copy_of
from knarr.objects.jobs import TRACKING, is_finished, is_ours, is_tracked
from knarr.objects.keys import Key, key_of
from knarr.objects.owners import controller_of
from knarr.objects.pods import is_finished as has_ended
from services.controller.controller import Context
from services.controller.controllers.job.backoff import Backoff
from services.controller.controllers.job.backoff import of as backoff_of
from services.controller.controllers.job.conditions import SUSPENDED, Verdict
from services.controller.controllers.job.counting import Tally, count_released, finish, running, tally
from services.controller.controllers.job.decide import Plan, decide
from services.controller.controllers.job.memory import Memories, Memory
from services.controller.controllers.job.pods import LIVE, is_failed
from services.controller.controllers.job.view import JobView
from services.controller.newest import is_older
from services.controller.tracking import is_released, release, track
from services.controller.workloads.adoption import BY_CONTROLLER
from services.controller.workloads.controller import WorkloadController, again
from services.controller.workloads.pods import PodWriter

# How soon a Job is looked at again that somebody else has changed meanwhile.
STALE_SECONDS = 0.05


class JobController(WorkloadController[batch.Job]):
    name = "job"
    workload: ClassVar[type[Message]] = batch.Job
    finalizer: ClassVar[str] = TRACKING

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._memories = Memories()
        self.hears(batch.Job, self._forget_over)
        self.hears(core.Pod, self._remember_released)
        self._pods = self.owns(core.Pod, LIVE)
        self._seen_pods = context.informers.get(core.Pod)
        self._writer = PodWriter(context.client, self.recorder, self.expectations)

    async def sync(self, workload: batch.Job) -> Again | None:
        if not is_ours(workload) or is_finished(workload):
            return None
        memory = self._memories.of(workload.metadata.uid)
        job = memory.newest(workload)
        if is_finished(job):
            return None
        # Before the pods are read: what is seen while this waits for the server is no reason to trust an older list of them.
        unseen, doomed = self.expectations.unseen(key_of(job))
        released = frozenset(memory.released)
        pods = await self.claimed(job, self._pods, by=LIVE)
        released |= await self._counted_elsewhere(job, pods)
        view = JobView(job, pods, self.context.clock.now(), self._backoff_of(job, memory), released, doomed, unseen)
        plan = decide(view, burst=self.context.settings.burst_replicas)
        if plan.create and not await self._is_newest(job, memory):
            return Again(STALE_SECONDS)
        dismissed, failure = await self._act(job, plan, memory)
        if failure is not None:
            plan = replace(plan, verdict=None)
        view = replace(view, released=released | dismissed)
        await self._count(view, plan, tally(view, plan, running(self._now(view, memory))), memory)
        if failure is not None:
            raise failure
        return again(plan.again_seconds)

    # What is known.

    def _backoff_of(self, job: batch.Job, memory: Memory) -> Backoff:
        if memory.backoff is None:
            # Somebody else may have seen them end.
            memory.backoff = backoff_of(self._counted(job))
        return memory.backoff

    def _counted(self, job: batch.Job) -> Iterable[core.Pod]:
        """Pods that have ended and are counted or noted already."""
        noted = {*job.status.uncounted_terminated_pods.succeeded, *job.status.uncounted_terminated_pods.failed}
        for pod in self._pods.index(BY_CONTROLLER, job.metadata.uid):
            if has_ended(pod) and (not is_tracked(pod) or pod.metadata.uid in noted):
                yield pod

    def _now(self, view: JobView, memory: Memory) -> JobView:
        """The same Job with the pods that are known by now."""
        found = {pod.metadata.uid: pod for pod in view.pods}
        found.update((pod.metadata.uid, pod) for pod in self._pods.index(LIVE, view.job.metadata.uid))
        unseen, doomed = self.expectations.unseen(key_of(view.job))
        return replace(view, pods=[*found.values()], released=view.released | memory.released, doomed=doomed, unseen=unseen)

    async def _counted_elsewhere(self, job: batch.Job, pods: Iterable[core.Pod]) -> set[str]:
        """Uids of pods that are known as uncounted and are not: where they were read before the Job, somebody else may have counted
        them in it, so the server is asked."""
        if not is_older(self._seen_pods.revision, job):
            return set()
        asked = [pod for pod in pods if is_tracked(pod) and (has_ended(pod) or is_failed(pod, job.spec))]
        counted = await asyncio.gather(*(is_released(self.client, pod) for pod in asked))
        return {pod.metadata.uid for pod, released in zip(asked, counted, strict=True) if released}

    async def _is_newest(self, job: batch.Job, memory: Memory) -> bool:
        """Whether the Job is as it is known: pods that were counted in a newer one must not be made again."""
        try:
            live = await self.client.get(batch.Job, job.metadata.name, job.metadata.namespace)
        except NotFound:
            return False
        if live.metadata.uid == job.metadata.uid:
            memory.job = live
        return live.metadata.resource_version == job.metadata.resource_version

    # What is done.

    async def _act(self, job: batch.Job, plan: Plan, memory: Memory) -> tuple[set[str], StatusError | None]:
        """Answers the uids of pods that are counted no more, and the first error, after which the rest is not tried."""
        # Without their finalizers they are not counted, whatever becomes of them.
        dismissed, failure = await self._release(plan.dismiss, memory)
        gone = [pod for pod in plan.dismiss if pod.metadata.uid in dismissed or not is_tracked(pod)]
        failure = failure or await self._writer.delete(job, gone) or await self._writer.delete(job, plan.end)
        for pod in plan.track:
            failure = failure or await track(self.client, pod)
        return dismissed, failure or await self._writer.create(job, plan.create)

    async def _release(self, pods: Iterable[core.Pod], memory: Memory) -> tuple[set[str], StatusError | None]:
        """Takes the finalizers of pods that have theirs. Answers the uids of those that have none now, and the first error."""
        tracked = {pod.metadata.uid: pod for pod in pods if is_tracked(pod)}
        memory.released |= tracked.keys()
        errors = await asyncio.gather(*(release(self.client, pod) for pod in tracked.values()))
        failed = {uid for uid, error in zip(tracked, errors, strict=True) if error is not None}
        memory.released -= failed
        return tracked.keys() - failed, next((error for error in errors if error is not None), None)

    async def _count(self, view: JobView, plan: Plan, told: Tally, memory: Memory) -> None:
        """Counts in the order that ``counting.py`` says."""
        job = await self._report(view.job, told.status, memory)
        if job is None:
            return
        self._tell_suspension(view.job, job)
        memory.backoff = view.backoff
        released, failure = await self._release(told.release, memory)
        status = copy_of(job.status)
        count_released(status, {pod.metadata.uid for pod in view.pods if view.is_tracked(pod)} - released)
        is_over = plan.verdict is not None and told.whole and finish(status, plan.verdict, self.context.clock.now())
        job = await self._report(job, status, memory)
        if job is not None and is_over and plan.verdict is not None:
            self._tell_end(job, plan.verdict)
        if failure is not None:
            raise failure

    async def _report(self, job: batch.Job, status: batch.JobStatus, memory: Memory) -> batch.Job | None:
        """Writes a status that differs, onto that very Job; answers it as it is then, None when it is gone."""
        if status == job.status:
            return job
        changed = copy_of(job)
        changed.status.CopyFrom(status)
        try:
            memory.job = await self.client.update(changed, subresource="status")
        except NotFound:
            return None
        except Conflict:
            await self._is_newest(job, memory)
            raise
        return memory.job

    def _tell_suspension(self, before: batch.Job, after: batch.Job) -> None:
        said = {found.type: found.status for found in before.status.conditions}
        for found in after.status.conditions:
            if found.type == SUSPENDED and said.get(SUSPENDED) != found.status:
                self.recorder.event(after, NORMAL, "Suspended" if found.status == "True" else "Resumed", found.message)

    def _tell_end(self, job: batch.Job, verdict: Verdict) -> None:
        tell = self.recorder.event
        if not verdict.success:
            tell(job, WARNING, verdict.reason, verdict.message)
            return
        if job.spec.HasField("completions") and job.status.succeeded > job.spec.completions:
            tell(job, WARNING, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
        tell(job, NORMAL, "Completed", "Job completed")

    # What is heard.

    def _forget_over(self, old: Message | None, new: Message | None) -> Iterable[Key]:
        job = new if new is not None else old
        if isinstance(job, batch.Job) and (new is None or is_finished(job)):
            self._memories.forget(job.metadata.uid)
        return ()

    def _remember_released(self, old: core.Pod | None, new: core.Pod | None) -> Iterable[Key]:
        pod = new if new is not None else old
        ref = None if pod is None else controller_of(pod)
        memory = None if ref is None else self._memories.known(ref.uid)
        if pod is not None and memory is not None:
            memory.shows(pod, gone=new is None)
        return ()

"""CronJob: starts Jobs by the clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.client.client import Client
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of
from knarr.objects.owners import controller_key, is_controlled_by
from services.controller.controller import Context, Controller
from services.controller.controllers.cronjob.decide import Plan, Told, decide, started
from services.controller.newest import Newest
from services.controller.workloads.adoption import BY_CONTROLLER


class CronJobController(Controller):
    name = "cronjob"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._newest: Newest[batch.CronJob] = Newest()
        # What was said of which time, by the CronJob's key and uid.
        self._said: dict[Key, tuple[str, set[tuple[str, datetime]]]] = {}
        self._cron_jobs = self.watches(batch.CronJob)
        self._jobs = self.watches(batch.Job, BY_CONTROLLER, mapped=_owner)

    async def reconcile(self, key: Key) -> Again | None:
        cached = self._cron_jobs.get(*key)
        if cached is None:
            self._newest.forget(key)
            self._said.pop(key, None)
            return None
        cron_job = self._newest.of(cached)
        plan = decide(cron_job, await self._own_jobs(cron_job), self.context.clock.now())
        for told in plan.told:
            self._tell(cron_job, told)
        for job in plan.delete:
            await self._delete(cron_job, job, plan)
        if plan.create is not None:
            await self._create(cron_job, plan)
        await self._report(cron_job, plan.status)
        return None if plan.again_seconds is None else Again(plan.again_seconds)

    async def _own_jobs(self, cron_job: batch.CronJob) -> list[batch.Job]:
        """Those that the cache shows, and active ones that it does not show yet."""
        found = list(self._jobs.index(BY_CONTROLLER, cron_job.metadata.uid))
        shown = {job.metadata.uid for job in found}
        for ref in cron_job.status.active:
            if ref.uid not in shown and (job := await _live(self.client, ref.name, cron_job)) is not None:
                found.append(job)
        return sorted(found, key=lambda job: job.metadata.name)

    async def _delete(self, cron_job: batch.CronJob, job: batch.Job, plan: Plan) -> None:
        metadata, tell = job.metadata, self.recorder.event
        try:
            await self.client.delete(batch.Job, metadata.name, metadata.namespace, propagation_policy="Background", uid=metadata.uid)
        except (NotFound, Conflict):
            pass
        except StatusError as error:
            tell(cron_job, WARNING, "FailedDelete", f"Deleted job: {error}")
            raise
        else:
            tell(cron_job, NORMAL, "SuccessfulDelete", f"Deleted job {metadata.name}")
        left = [found for found in plan.status.active if found.uid != metadata.uid]
        del plan.status.active[:]
        plan.status.active.extend(left)

    async def _create(self, cron_job: batch.CronJob, plan: Plan) -> None:
        """A Job of that name that is there already was started by one who died before he could say so; or it is somebody else's."""
        assert plan.create is not None and plan.scheduled is not None
        name, tell = plan.create.metadata.name, self.recorder.event
        try:
            job = await self.client.create(plan.create)
        except AlreadyExists:
            found = await _live(self.client, name, cron_job)
            if found is None:
                return
            job = found
        except StatusError as error:
            tell(cron_job, WARNING, "FailedCreate", f"Error creating job: {error}")
            raise
        else:
            tell(cron_job, NORMAL, "SuccessfulCreate", f"Created job {name}")
        started(plan.status, job, plan.scheduled)

    async def _report(self, cron_job: batch.CronJob, status: batch.CronJobStatus) -> None:
        if status == cron_job.status:
            return
        changed = copy_of(cron_job)
        changed.status.CopyFrom(status)
        try:
            self._newest.note(await self.client.update(changed, subresource="status"))
        except NotFound:
            return
        except Conflict:
            self._newest.note(await self.client.get(batch.CronJob, cron_job.metadata.name, cron_job.metadata.namespace))
            raise

    def _tell(self, cron_job: batch.CronJob, told: Told) -> None:
        if told.time is not None:
            key, uid = key_of(cron_job), cron_job.metadata.uid
            of, said = self._said.get(key, (uid, set()))
            if of == uid and (told.reason, told.time) in said:
                return
            still = {pair for pair in said if pair[1] == told.time} if of == uid else set()
            self._said[key] = uid, {*still, (told.reason, told.time)}
        self.recorder.event(cron_job, told.kind, told.reason, told.message)


def _owner(job: batch.Job) -> Iterable[Key]:
    key = controller_key(job, batch.CronJob)
    return () if key is None else (key,)


async def _live(client: Client, name: str, owner: batch.CronJob) -> batch.Job | None:
    """The Job of that name, if it is the CronJob's."""
    try:
        found = await client.get(batch.Job, name, owner.metadata.namespace)
    except NotFound:
        return None
    return found if is_controlled_by(found, owner) else None

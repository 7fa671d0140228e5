"""CronJob: from its Jobs and the time to the Jobs to delete and to start, and its status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL, WARNING
from knarr.machinery.cron import InvalidSchedule, UnknownZone
from knarr.machinery.times import to_datetime, to_time
from knarr.machinery.type_names import names_of
from knarr.objects.copies import copy_of
from knarr.objects.jobs import COMPLETE, finished_condition
from knarr.objects.keys import is_deleting
from knarr.objects.owners import owner_reference
from services.controller.controllers.cronjob.due import due
from services.controller.controllers.cronjob.schedule import Schedule

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
# Later than due, so that it is due for sure.
MARGIN_SECONDS = 0.1
# A clock that was set, or a machine that slept, is noticed after so long at the latest.
LONGEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Told:
    """An event. What is said of one ``time`` is not said again."""

    kind: str
    reason: str
    message: str
    time: datetime | None = None


@dataclass(slots=True)
class Plan:
    """``delete`` are Jobs that go; ``create`` is the one that is started, for the time ``scheduled``. ``status`` is without it.

    ``again_seconds``: when to look again; None where only a change gives reason to.
    """

    status: batch.CronJobStatus
    delete: list[batch.Job] = field(default_factory=list)
    create: batch.Job | None = None
    scheduled: datetime | None = None
    told: list[Told] = field(default_factory=list)
    again_seconds: float | None = None


def decide(cron_job: batch.CronJob, jobs: Sequence[batch.Job], now: datetime) -> Plan:
    """``jobs`` are all of the CronJob's own, those that it knows of and no cache shows among them."""
    plan = Plan(_status(cron_job, jobs))
    _tell_ended(cron_job, jobs, plan)
    plan.delete += _too_old(cron_job.spec, jobs)
    if not is_deleting(cron_job) and not cron_job.spec.suspend:
        _start(cron_job, jobs, now, plan)
    return plan


def make_job(cron_job: batch.CronJob, scheduled: datetime, zone_time: datetime) -> batch.Job:
    """Its name follows from the time, so that it is not made twice."""
    template = cron_job.spec.job_template
    job = batch.Job(spec=template.spec)
    job.metadata.name = name_of(cron_job, scheduled)
    job.metadata.namespace = cron_job.metadata.namespace
    job.metadata.labels.update(template.metadata.labels)
    job.metadata.annotations.update(template.metadata.annotations)
    job.metadata.annotations[SCHEDULED_AT] = zone_time.isoformat(timespec="seconds").replace("+00:00", "Z")
    job.metadata.owner_references.append(owner_reference(cron_job))
    return job


def name_of(cron_job: batch.CronJob, scheduled: datetime) -> str:
    return f"{cron_job.metadata.name}-{int(scheduled.timestamp()) // 60}"


def reference(job: batch.Job) -> core.ObjectReference:
    """As it stands among the active ones."""
    api_version, kind = names_of(batch.Job)
    found = job.metadata
    return core.ObjectReference(
        api_version=api_version,
        kind=kind,
        namespace=found.namespace,
        name=found.name,
        uid=found.uid,
        resource_version=found.resource_version,
    )


def started(status: batch.CronJobStatus, job: batch.Job, scheduled: datetime) -> None:
    """Notes in place that a Job was started."""
    if all(found.uid != job.metadata.uid for found in status.active) and finished_condition(job) is None:
        status.active.append(reference(job))
    status.last_schedule_time.CopyFrom(to_time(scheduled))


def _status(cron_job: batch.CronJob, jobs: Iterable[batch.Job]) -> batch.CronJobStatus:
    status = copy_of(cron_job.status)
    known = {found.uid: found for found in status.active}
    del status.active[:]
    for job in jobs:
        done = finished_condition(job)
        if done is None:
            status.active.append(known.get(job.metadata.uid) or reference(job))
        elif done.type == COMPLETE and job.status.HasField("completion_time"):
            ended = job.status.completion_time
            if not status.HasField("last_successful_time") or to_datetime(ended) > to_datetime(status.last_successful_time):
                status.last_successful_time.CopyFrom(ended)
    return status


def _tell_ended(cron_job: batch.CronJob, jobs: Iterable[batch.Job], plan: Plan) -> None:
    there = {job.metadata.uid: job for job in jobs}
    for found in cron_job.status.active:
        job = there.get(found.uid)
        if job is None:
            plan.told.append(Told(NORMAL, "MissingJob", f"Active job went missing: {found.name}"))
        elif (done := finished_condition(job)) is not None:
            plan.told.append(Told(NORMAL, "SawCompletedJob", f"Saw completed job: {found.name}, condition: {done.type}"))
    active = {found.uid for found in cron_job.status.active}
    for job in jobs:
        if job.metadata.uid not in active and finished_condition(job) is None and SCHEDULED_AT not in job.metadata.annotations:
            words = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
            plan.told.append(Told(WARNING, "UnexpectedJob", words))


def _too_old(spec: batch.CronJobSpec, jobs: Iterable[batch.Job]) -> list[batch.Job]:
    """The oldest of those that are over, of each kind as many as there are too many."""
    ended: dict[bool, list[batch.Job]] = {True: [], False: []}
    for job in jobs:
        done = finished_condition(job)
        if done is not None and not is_deleting(job):
            ended[done.type == COMPLETE].append(job)
    found: list[batch.Job] = []
    for succeeded, limit in ((True, "successful_jobs_history_limit"), (False, "failed_jobs_history_limit")):
        if spec.HasField(limit):
            ranked = sorted(ended[succeeded], key=_age)
            found += ranked[: max(len(ranked) - getattr(spec, limit), 0)]
    return found


def _age(job: batch.Job) -> tuple[bool, datetime, str]:
    """Those that have begun first, the longest ago."""
    begun = job.status.HasField("start_time")
    return not begun, to_datetime(job.status.start_time), job.metadata.name


def _start(cron_job: batch.CronJob, jobs: Sequence[batch.Job], now: datetime, plan: Plan) -> None:
    spec = cron_job.spec
    try:
        schedule = Schedule.parse(spec.schedule, spec.time_zone)
    except UnknownZone as error:
        plan.told.append(Told(WARNING, "UnknownTimeZone", f'invalid timeZone: "{spec.time_zone}": {error}'))
        return
    except InvalidSchedule as error:
        plan.told.append(Told(WARNING, "UnparseableSchedule", f'unparseable schedule: "{spec.schedule}" : {error}'))
        return
    found = due(cron_job, schedule, now)
    if found.next is None:
        words = f"invalid schedule: {spec.schedule} : time difference between two schedules is less than 1 second"
        plan.told.append(Told(WARNING, "InvalidSchedule", words))
    else:
        plan.again_seconds = min((found.next - now).total_seconds() + MARGIN_SECONDS, LONGEST_SECONDS)
    if found.at is None or _is_done(cron_job.status, found.at):
        return
    name = name_of(cron_job, found.at)
    started_before = next((job for job in jobs if job.metadata.name == name), None)
    if started_before is not None:
        # By one who died before he could say so.
        started(plan.status, started_before, found.at)
        return
    if found.many:
        words = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        plan.told.append(Told(WARNING, "TooManyMissedTimes", words, found.at))
    if spec.HasField("starting_deadline_seconds") and now - found.at > timedelta(seconds=min(spec.starting_deadline_seconds, 10**9)):
        at = found.at.strftime("%a, %d %b %Y %H:%M:%S +0000")
        plan.told.append(Told(WARNING, "MissSchedule", f"Missed scheduled time to start a job: {at}", found.at))
        return
    if plan.status.active and spec.concurrency_policy == "Forbid":
        words = "Not starting job because prior execution is running and concurrency policy is Forbid"
        plan.told.append(Told(NORMAL, "JobAlreadyActive", words, found.at))
        return
    if spec.concurrency_policy == "Replace":
        plan.delete += [job for job in jobs if finished_condition(job) is None and not is_deleting(job)]
    plan.create, plan.scheduled = make_job(cron_job, found.at, found.at.astimezone(schedule.zone)), found.at


def _is_done(status: batch.CronJobStatus, at: datetime) -> bool:
    """Whether a Job was started for that time, or for a later one."""
    return status.HasField("last_schedule_time") and to_datetime(status.last_schedule_time) >= at

"""The strategy of CronJobs."""

from __future__ import annotations

from datetime import datetime

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_choice, check_not_negative, invalid, not_supported, required
from knarr.objects.copies import copy_of
from services.apiserver.strategies.duration import since
from services.apiserver.strategies.job import default_job_spec, default_job_template, job_warnings, validate_job_spec
from services.apiserver.strategies.paths import METADATA, SPEC
from services.apiserver.strategies.schedule import schedule_error, zone_error
from services.apiserver.strategies.selectors import selector_shown
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, age, columns, template_cells
from services.apiserver.strategies.workloads import NAMES_OF_PODS

CONCURRENCY = ("Allow", "Forbid", "Replace")
# The controller adds eleven characters to the name of each Job that it makes.
MAX_NAME = 63 - 11
SUCCESSFUL_JOBS, FAILED_JOBS = 3, 1
JOB_TEMPLATE = SPEC.child("jobTemplate", "spec")
ZONES = "https://www.iana.org/time-zones"


class CronJobStrategy(Strategy):
    """A spec change makes a new generation."""

    columns = columns(
        "Name",
        "Schedule",
        "Timezone",
        "Suspend",
        "Active",
        "Last Schedule",
        "Age",
        wide=("Containers", "Images", "Selector"),
        integers=("Active",),
        booleans=("Suspend",),
    )

    has_generation = True
    named_after = NAMES_OF_PODS

    def default(self, obj: batch.CronJob) -> None:
        spec = obj.spec
        spec.concurrency_policy = spec.concurrency_policy or "Allow"
        if not spec.HasField("suspend"):
            spec.suspend = False
        for field, value in (("successful_jobs_history_limit", SUCCESSFUL_JOBS), ("failed_jobs_history_limit", FAILED_JOBS)):
            if not spec.HasField(field):
                setattr(spec, field, value)
        default_job_template(spec.job_template.spec)

    def validate(self, obj: batch.CronJob) -> list[Cause]:
        spec = obj.spec
        path = SPEC.child("schedule")
        if not spec.schedule:
            causes = [required(path)]
        else:
            error = schedule_error(spec.schedule)
            causes = [invalid(path, spec.schedule, error)] if error else []
        causes += check_not_negative(SPEC.child("startingDeadlineSeconds"), spec.starting_deadline_seconds)
        causes += check_choice(SPEC.child("concurrencyPolicy"), spec.concurrency_policy, CONCURRENCY)
        causes += _zone(spec, SPEC.child("timeZone"))
        causes += _job_template(spec.job_template.spec)
        causes += check_not_negative(SPEC.child("successfulJobsHistoryLimit"), spec.successful_jobs_history_limit)
        return causes + check_not_negative(SPEC.child("failedJobsHistoryLimit"), spec.failed_jobs_history_limit)

    def validate_create(self, obj: batch.CronJob) -> list[Cause]:
        """An older one may have a longer name, and a zone in its schedule."""
        causes: list[Cause] = []
        if len(obj.metadata.name) > MAX_NAME:
            causes.append(invalid(METADATA.child("name"), obj.metadata.name, f"must be no more than {MAX_NAME} characters"))
        return causes + _zone_in_schedule(obj.spec)

    def validate_update(self, new: batch.CronJob, old: batch.CronJob) -> list[Cause]:
        if "TZ" not in old.spec.schedule:
            return _zone_in_schedule(new.spec)
        twice = "TZ" in new.spec.schedule and new.spec.HasField("time_zone")
        words = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        return [invalid(SPEC.child("schedule"), new.spec.schedule, words)] if twice else []

    def warnings(self, obj: batch.CronJob) -> list[str]:
        return job_warnings(obj.spec.job_template.spec, JOB_TEMPLATE)

    def cells(self, obj: batch.CronJob, now: datetime) -> list[object]:
        spec, status = obj.spec, obj.status
        last = since(status.last_schedule_time, now) if status.HasField("last_schedule_time") else NONE
        zone = spec.time_zone if spec.HasField("time_zone") else NONE
        pods = template_cells(spec.job_template.spec)
        return [obj.metadata.name, spec.schedule, zone, spec.suspend, len(status.active), last, age(obj, now), *pods]


def _zone_in_schedule(spec: batch.CronJobSpec) -> list[Cause]:
    if "TZ" not in spec.schedule:
        return []
    return [invalid(SPEC.child("schedule"), spec.schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")]


def _zone(spec: batch.CronJobSpec, path: Path) -> list[Cause]:
    if not spec.HasField("time_zone"):
        return []
    if not spec.time_zone:
        return [invalid(path, "", "timeZone must be nil or non-empty string")]
    if spec.time_zone.lower() == "local":
        return [invalid(path, spec.time_zone, f"timeZone must be an explicit time zone as defined in {ZONES}")]
    error = zone_error(spec.time_zone)
    return [invalid(path, spec.time_zone, error)] if error else []


def _job_template(spec: batch.JobSpec) -> list[Cause]:
    """A template gets the defaults of a Job when one is made of it: it is judged by what it will be then."""
    whole = copy_of(spec)
    default_job_spec(whole)
    causes = validate_job_spec(whole, JOB_TEMPLATE)
    if spec.HasField("selector"):
        causes.append(invalid(JOB_TEMPLATE.child("selector"), selector_shown(spec.selector), "`selector` will be auto-generated"))
    if spec.manual_selector:
        causes.append(not_supported(JOB_TEMPLATE.child("manualSelector"), True, ("nil", "false")))
    return causes

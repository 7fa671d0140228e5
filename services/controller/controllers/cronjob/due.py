"""Which time of its schedule a CronJob has to start a Job for: the last one that has come, if there is one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.machinery.times import to_datetime
from services.controller.controllers.cronjob.schedule import Schedule

MANY = 100


@dataclass(frozen=True, slots=True)
class Due:
    """``at`` is the time that counts, None where none has come. ``many``: more than a hundred were missed. ``next`` is the one to come."""

    at: datetime | None
    many: bool
    next: datetime | None


def due(cron_job: batch.CronJob, schedule: Schedule, now: datetime) -> Due:
    """Of all that were missed only the last counts, and none from before the CronJob, its last start, or its starting deadline."""
    status, spec = cron_job.status, cron_job.spec
    since = to_datetime(status.last_schedule_time if status.HasField("last_schedule_time") else cron_job.metadata.creation_timestamp)
    schedule = schedule.counted_from(since)
    # A clock that was set back is waited for.
    coming = schedule.next(max(now, since))
    if spec.HasField("starting_deadline_seconds"):
        since = max(since, now - timedelta(seconds=min(spec.starting_deadline_seconds, 10**9)))
    missed = list(islice(schedule.between(since, now), MANY + 1))
    if len(missed) <= MANY:
        return Due(missed[-1] if missed else None, False, coming)
    return Due(_last_before(schedule, now, missed), True, coming)


def _last_before(schedule: Schedule, now: datetime, missed: list[datetime]) -> datetime:
    """Looks back ever farther, so that years of minutes need not be counted."""
    back = missed[1] - missed[0]
    while now - back > missed[0]:
        found = list(schedule.between(now - back, now))
        if found:
            return found[-1]
        back *= 2
    return missed[-1]

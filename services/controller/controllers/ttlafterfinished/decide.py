"""TTL after finished: when a Job that is over is to go. Pure."""

from __future__ import annotations

from datetime import datetime

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.machinery.times import is_zero, to_datetime
from knarr.objects.jobs import finished_condition
from knarr.objects.keys import is_deleting


def seconds_left(job: batch.Job, now: datetime) -> float | None:
    """How long it stays; 0 when its time is over, None when it stays until somebody deletes it."""
    done = finished_condition(job)
    if done is None or not job.spec.HasField("ttl_seconds_after_finished") or is_deleting(job) or is_zero(done.last_transition_time):
        return None
    age = (now - to_datetime(done.last_transition_time)).total_seconds()
    return max(job.spec.ttl_seconds_after_finished - age, 0.0)

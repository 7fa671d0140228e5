"""What a Job asks of one of its pods: its index, whether it failed and when, how often others of its index did."""

from __future__ import annotations

from datetime import UTC, datetime

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.index import Index
from knarr.machinery.times import seconds_after, to_datetime
from knarr.objects.conditions import FALSE, get_condition
from knarr.objects.jobs import is_tracked
from knarr.objects.keys import is_deleting
from knarr.objects.owners import controller_of
from knarr.objects.pods import FAILED, SUCCEEDED, is_finished, is_sidecar

INDEX = "batch.kubernetes.io/job-completion-index"
# How many pods of the index failed before this one, and how many of them the Job's policy ignored.
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
NO_INDEX = -1


def _live(pod: core.Pod) -> list[str]:
    ref = controller_of(pod)
    return [ref.uid] if ref is not None and ref.kind == "Job" and (is_tracked(pod) or not is_finished(pod)) else []


# The pods of a Job, by its uid, that it has not counted yet or that still run: what a sync is about, however many are done.
LIVE: Index[core.Pod] = Index("pods that a Job still cares for", _live)


def only_replaces_ended(spec: batch.JobSpec) -> bool:
    """Whether a pod is replaced when it has ended, not already when it is being deleted."""
    return bool(spec.pod_replacement_policy == "Failed") or spec.HasField("pod_failure_policy")


def is_failed(pod: core.Pod, spec: batch.JobSpec) -> bool:
    """Whether it counts as failed. One that is being deleted does unless the Job waits for its end: nobody may ever tell of that."""
    if pod.status.phase == FAILED:
        return True
    return not only_replaces_ended(spec) and is_deleting(pod) and bool(pod.status.phase != SUCCEEDED)


def index_of(pod: core.Pod) -> int:
    """Its completion index; NO_INDEX where it has none that makes sense."""
    return _number(pod, INDEX, NO_INDEX)


def counted_failures(pod: core.Pod) -> int:
    """Pods of its index that failed before it, without those that were ignored."""
    return _number(pod, FAILURES)


def ignored_failures(pod: core.Pod) -> int:
    return _number(pod, IGNORED_FAILURES)


def finished_at(pod: core.Pod) -> datetime:
    """When it ended: by its containers, else by its readiness, its deletion, its creation."""
    ends = [_end(found) for found in _lasting_statuses(pod)]
    known = [end for end in ends if end is not None]
    if known and len(known) == len(ends):
        return max(known)
    ready = get_condition(pod.status, "Ready")
    if ready is not None and ready.status == FALSE and ready.HasField("last_transition_time"):
        return to_datetime(ready.last_transition_time)
    metadata = pod.metadata
    if metadata.HasField("deletion_timestamp"):
        asked = seconds_after(to_datetime(metadata.deletion_timestamp), -metadata.deletion_grace_period_seconds)
        if asked is not None:
            return asked
    return to_datetime(metadata.creation_timestamp) if metadata.HasField("creation_timestamp") else datetime.fromtimestamp(0, UTC)


def _lasting_statuses(pod: core.Pod) -> list[core.ContainerStatus]:
    """Sidecars end after the containers beside them."""
    sidecars = {container.name for container in pod.spec.init_containers if is_sidecar(container)}
    return [*pod.status.container_statuses, *(found for found in pod.status.init_container_statuses if found.name in sidecars)]


def _end(status: core.ContainerStatus) -> datetime | None:
    ended = status.state.terminated
    return to_datetime(ended.finished_at) if status.state.HasField("terminated") and ended.HasField("finished_at") else None


def _number(pod: core.Pod, annotation: str, otherwise: int = 0) -> int:
    text = pod.metadata.annotations.get(annotation, "")
    return int(text) if text.isdecimal() and text.isascii() else otherwise

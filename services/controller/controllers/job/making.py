"""The pods of a Job as they are made: tracked, and those of an indexed Job with their index in all the places where Kubernetes has it."""

from __future__ import annotations

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.jobs import TRACKING
from knarr.objects.names import LONGEST_BASE, generated
from knarr.objects.pods import init_and_main_containers
from services.controller.controllers.job.pods import FAILURES, IGNORED_FAILURES, INDEX, counted_failures, ignored_failures
from services.controller.controllers.job.policy import match_failure
from services.controller.workloads.pods import pod_from_template

VARIABLE = "JOB_COMPLETION_INDEX"


def make_pod(job: batch.Job) -> core.Pod:
    """A pod of a Job without indexes."""
    pod = pod_from_template(job.spec.template, job)
    if TRACKING not in pod.metadata.finalizers:
        pod.metadata.finalizers.append(TRACKING)
    return pod


def make_indexed_pod(job: batch.Job, index: int, replaced: core.Pod | None = None) -> core.Pod:
    """The pod of an index. It carries on the failures of the one that it replaces, where the Job counts them by index."""
    pod = make_pod(job)
    metadata = pod.metadata
    metadata.generate_name = _base(job.metadata.name, index)
    metadata.name = generated(metadata.generate_name)
    metadata.annotations[INDEX] = metadata.labels[INDEX] = str(index)
    pod.spec.hostname = f"{job.metadata.name}-{index}"
    for container in init_and_main_containers(pod.spec):
        if all(variable.name != VARIABLE for variable in container.env):
            container.env.add(name=VARIABLE).value_from.field_ref.field_path = f"metadata.labels['{INDEX}']"
    if job.spec.HasField("backoff_limit_per_index"):
        _carry_on(job.spec, pod, replaced)
    return pod


def _base(name: str, index: int) -> str:
    """A long name is cut, its index is not."""
    end = f"-{index}-"
    return name[: LONGEST_BASE - len(end)] + end


def _carry_on(spec: batch.JobSpec, pod: core.Pod, replaced: core.Pod | None) -> None:
    counted = ignored = 0
    if replaced is not None:
        counts = match_failure(spec, replaced).counts
        counted = counted_failures(replaced) + counts
        ignored = ignored_failures(replaced) + (not counts)
    pod.metadata.annotations[FAILURES] = str(counted)
    if ignored:
        pod.metadata.annotations[IGNORED_FAILURES] = str(ignored)

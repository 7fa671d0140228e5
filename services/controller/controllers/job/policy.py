"""A Job's policies: what a failed pod means to it, and when enough of its indexes have succeeded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from services.controller.controllers.job.indexes import Indexes

IGNORE, COUNT, FAIL_JOB, FAIL_INDEX = "Ignore", "Count", "FailJob", "FailIndex"


@dataclass(frozen=True, slots=True)
class Match:
    """What the failure policy says of a failed pod. ``action`` is empty where no rule is about it; ``message`` tells why the Job fails."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether the failure counts towards the limits."""
        return self.action != IGNORE


def match_failure(spec: batch.JobSpec, pod: core.Pod) -> Match:
    """By the first rule that is about the pod."""
    for number, rule in enumerate(spec.pod_failure_policy.rules):
        if rule.HasField("on_exit_codes"):
            found = _by_exit_code(pod.status, rule.on_exit_codes)
            if found is not None:
                code = found.state.terminated.exit_code
                return _match(rule, number, f"Container {found.name} for pod {_name(pod)} failed with exit code {code}")
        else:
            kind = _by_condition(pod.status, rule.on_pod_conditions)
            if kind:
                return _match(rule, number, f"Pod {_name(pod)} has condition {kind}")
    return Match()


def match_success(spec: batch.JobSpec, succeeded: Indexes) -> str:
    """The message of the first rule of the success policy that is fulfilled; empty when none is."""
    if not succeeded.intervals:
        return ""
    for number, rule in enumerate(spec.success_policy.rules):
        if _is_met(rule, spec.completions, succeeded):
            return f"Matched rules at index {number}"
    return ""


def _is_met(rule: batch.SuccessPolicyRule, completions: int, succeeded: Indexes) -> bool:
    if not rule.HasField("succeeded_indexes"):
        return rule.HasField("succeeded_count") and len(succeeded) >= rule.succeeded_count
    wanted = Indexes.parse(rule.succeeded_indexes, completions)
    if not wanted.intervals:
        return False
    found = wanted.overlap(succeeded)
    return found == len(wanted) or (rule.HasField("succeeded_count") and found >= rule.succeeded_count)


def _match(rule: batch.PodFailurePolicyRule, number: int, found: str) -> Match:
    fails = rule.action == FAIL_JOB
    return Match(rule.action, f"{found} matching {rule.action} rule at index {number}" if fails else "")


def _name(pod: core.Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def _by_exit_code(status: core.PodStatus, wanted: batch.PodFailurePolicyOnExitCodesRequirement) -> core.ContainerStatus | None:
    """The first container that ended so; 0 is no failure, whatever the rule says."""
    values = set(wanted.values)
    for found in (*status.container_statuses, *status.init_container_statuses):
        if not found.state.HasField("terminated") or (wanted.HasField("container_name") and wanted.container_name != found.name):
            continue
        code = found.state.terminated.exit_code
        if code and (code in values) == (wanted.operator == "In"):
            return found
    return None


def _by_condition(status: core.PodStatus, patterns: Iterable[batch.PodFailurePolicyOnPodConditionsPattern]) -> str:
    wanted = {(pattern.type, pattern.status) for pattern in patterns}
    return next((found.type for found in status.conditions if (found.type, found.status) in wanted), "")

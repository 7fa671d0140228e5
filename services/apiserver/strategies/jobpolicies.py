"""Rules about what a Job does when pods fail, when it has succeeded and who keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    check_choice,
    check_domain_prefixed,
    check_format,
    check_not_negative,
    duplicate,
    invalid,
    invalid_as_it_is,
    not_supported,
    qualified_name,
    required,
    too_long,
    too_many,
)
from services.apiserver.strategies.jobindexes import Malformed, count, parse_indexes

ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATUSES = ("False", "True", "Unknown")
REPLACEMENTS = ("Failed", "TerminatingOrFailed")
MAX_RULES, MAX_EXIT_CODES, MAX_CONDITIONS = 20, 255, 20
MAX_MANAGED_BY = 63
# Letters of the indexes that a rule of a success policy names.
MAX_SUCCEEDED_INDEXES = 64 * 1024


def validate_managed_by(spec: batch.JobSpec, path: Path) -> list[Cause]:
    """A path under a domain: ``example.com/name``."""
    if not spec.HasField("managed_by"):
        return []
    here, value = path.child("managedBy"), spec.managed_by
    causes = check_domain_prefixed(here, value) if value else [required(here)]
    return causes + ([too_long(here, MAX_MANAGED_BY)] if len(value) > MAX_MANAGED_BY else [])


def validate_failure_policy(spec: batch.JobSpec, path: Path) -> list[Cause]:
    if not spec.HasField("pod_failure_policy"):
        return []
    causes: list[Cause] = []
    if spec.template.spec.restart_policy == "OnFailure":
        words = 'only "Never" is supported when podFailurePolicy is specified'
        causes.append(invalid(path.child("template", "spec", "restartPolicy"), spec.template.spec.restart_policy, words))
    here, rules = path.child("podFailurePolicy", "rules"), spec.pod_failure_policy.rules
    if len(rules) > MAX_RULES:
        return [*causes, too_many(here, len(rules), MAX_RULES)]
    pod = spec.template.spec
    names = {container.name for container in (*pod.containers, *pod.init_containers)}
    for index, rule in enumerate(rules):
        causes += _rule(rule, spec, names, here.index(index))
    return causes


def _rule(rule: Any, spec: batch.JobSpec, names: set[str], path: Path) -> list[Cause]:
    causes = _chosen(path.child("action"), rule.action, ACTIONS)
    if rule.action == "FailIndex" and not spec.HasField("backoff_limit_per_index"):
        causes.append(invalid(path.child("action"), rule.action, "requires the backoffLimitPerIndex to be set"))
    if len(rule.on_pod_conditions) > MAX_CONDITIONS:
        return [*causes, too_many(path.child("onPodConditions"), len(rule.on_pod_conditions), MAX_CONDITIONS)]
    for index, condition in enumerate(rule.on_pod_conditions):
        here = path.child("onPodConditions").index(index)
        causes += check_format(here.child("type"), condition.type, qualified_name)
        causes += _chosen(here.child("status"), condition.status, STATUSES)
    codes = rule.HasField("on_exit_codes")
    if codes and rule.on_pod_conditions:
        causes.append(invalid_as_it_is(path, "specifying both OnExitCodes and OnPodConditions is not supported"))
    if not codes and not rule.on_pod_conditions:
        causes.append(invalid_as_it_is(path, "specifying one of OnExitCodes and OnPodConditions is required"))
    return causes + (_exit_codes(rule.on_exit_codes, names, path.child("onExitCodes")) if codes else [])


def _chosen(path: Path, value: str, choices: Sequence[str]) -> list[Cause]:
    """As any choice; where there is none, what it may be."""
    listed = " ".join(f'"{choice}"' for choice in choices)
    return check_choice(path, value, choices) if value else [required(path, f"valid values: [{listed}]")]


def _exit_codes(codes: Any, names: set[str], path: Path) -> list[Cause]:
    causes = _chosen(path.child("operator"), codes.operator, OPERATORS)
    if codes.HasField("container_name") and codes.container_name not in names:
        words = "must be one of the container or initContainer names in the pod template"
        causes.append(invalid(path.child("containerName"), codes.container_name, words))
    here = path.child("values")
    if not codes.values:
        return [*causes, invalid(here, [], "at least one value is required")]
    if len(codes.values) > MAX_EXIT_CODES:
        return [*causes, too_many(here, len(codes.values), MAX_EXIT_CODES)]
    seen: set[int] = set()
    for index, value in enumerate(codes.values):
        if codes.operator == "In" and value == 0:
            causes.append(invalid(here.index(index), value, "must not be 0 for the In operator"))
        if value in seen:
            causes.append(duplicate(here.index(index), value))
        seen.add(value)
    if list(codes.values) != sorted(codes.values):
        causes.append(invalid(here, list(codes.values), "must be ordered"))
    return causes


def validate_success_policy(spec: batch.JobSpec, path: Path) -> list[Cause]:
    if not spec.HasField("success_policy"):
        return []
    if spec.completion_mode != "Indexed":
        return [invalid(path.child("successPolicy"), CUT, "requires indexed completion mode")]
    here, rules = path.child("successPolicy", "rules"), spec.success_policy.rules
    if not rules:
        return [required(here, "at least one rules must be specified when the successPolicy is specified")]
    if len(rules) > MAX_RULES:
        return [too_many(here, len(rules), MAX_RULES)]
    causes: list[Cause] = []
    for index, rule in enumerate(rules):
        place = here.index(index)
        if not rule.HasField("succeeded_indexes") and not rule.HasField("succeeded_count"):
            causes.append(required(place, "at least one of succeededCount or succeededIndexes must be specified"))
        causes += _succeeded_count(rule, spec.completions, place.child("succeededCount"))
        causes += _succeeded_indexes(rule, spec.completions, place)
    return causes


def _succeeded_count(rule: batch.SuccessPolicyRule, completions: int, path: Path) -> list[Cause]:
    if rule.succeeded_count < 0:
        return check_not_negative(path, rule.succeeded_count)
    if rule.succeeded_count > completions:
        words = f"must be less than or equal to {completions} (the number of specified completions)"
        return [invalid(path, rule.succeeded_count, words)]
    return []


def _succeeded_indexes(rule: batch.SuccessPolicyRule, completions: int, path: Path) -> list[Cause]:
    """What cannot be read counts as no index, as it will when it is asked whether the rule is met."""
    if not rule.HasField("succeeded_indexes"):
        return []
    here, text = path.child("succeededIndexes"), rule.succeeded_indexes
    if len(text) > MAX_SUCCEEDED_INDEXES:
        return [too_long(here, MAX_SUCCEEDED_INDEXES)]
    causes: list[Cause] = []
    named = 0
    try:
        named = count(parse_indexes(text, completions))
    except Malformed as error:
        causes.append(invalid(here, text, f"error parsing succeededIndexes: {error}"))
    if rule.HasField("succeeded_count") and rule.succeeded_count > named:
        words = f"must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
        causes.append(invalid(path.child("succeededCount"), rule.succeeded_count, words))
    return causes


def validate_replacement_policy(spec: batch.JobSpec, path: Path) -> list[Cause]:
    here, value = path.child("podReplacementPolicy"), spec.pod_replacement_policy
    if spec.HasField("pod_failure_policy"):
        return [] if value == "Failed" else [not_supported(here, value, ("Failed",))]
    return [] if value in REPLACEMENTS else [not_supported(here, value, REPLACEMENTS)]

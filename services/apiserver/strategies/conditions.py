"""Rules about conditions in a status, as Kubernetes wants every one of them."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.times import is_zero
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_format,
    condition_reason,
    duplicate,
    invalid,
    qualified_name,
    required,
    too_long,
)

STATUSES = ("False", "True", "Unknown")
MAX_REASON, MAX_MESSAGE = 1024, 32 * 1024


def validate_conditions(conditions: Sequence[meta.Condition], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        if condition.type in seen:
            causes.append(duplicate(path.index(index), condition.type))
        seen.add(condition.type)
        causes += validate_condition(condition, path.index(index))
    return causes


def validate_condition(condition: meta.Condition, path: Path) -> list[Cause]:
    kind = path.child("type")
    causes = check_format(kind, condition.type, qualified_name) if condition.type else [required(kind, "is required")]
    causes += check_choice(path.child("status"), condition.status, STATUSES)
    if condition.observed_generation < 0:
        causes.append(invalid(path.child("observedGeneration"), condition.observed_generation, "must be greater than or equal to zero"))
    if not condition.HasField("last_transition_time") or is_zero(condition.last_transition_time):
        causes.append(required(path.child("lastTransitionTime")))
    reason = path.child("reason")
    causes += check_format(reason, condition.reason, condition_reason) if condition.reason else [required(reason)]
    if len(condition.reason.encode()) > MAX_REASON:
        causes.append(too_long(reason, MAX_REASON))
    return [*causes, too_long(path.child("message"), MAX_MESSAGE)] if len(condition.message.encode()) > MAX_MESSAGE else causes

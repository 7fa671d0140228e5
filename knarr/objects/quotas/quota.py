"""A ResourceQuota: which objects it is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.quotas.evaluator import Evaluator


def tracked(evaluator: Evaluator, names: Iterable[str]) -> list[str]:
    """The names among those of a quota that are about the evaluator's objects."""
    return [name for name in names if evaluator.tracks(name)]


def covers(quota: core.ResourceQuota, evaluator: Evaluator, obj: Any) -> bool:
    """Whether an object is in all of its scopes; in those of one that has none every object is."""
    scoped = (core.ScopedResourceSelectorRequirement(scope_name=scope, operator="Exists") for scope in quota.spec.scopes)
    rules = (*scoped, *quota.spec.scope_selector.match_expressions)
    return all(evaluator.in_scope(rule, obj) for rule in rules)

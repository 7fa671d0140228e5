"""What a profile may say of NodeAffinity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.selectors import GREATER, LESS, check_values
from knarr.machinery.validation import Path, check_format, invalid, not_supported, qualified_name
from knarr.objects.node_selection import NAME

_EXISTENCE, _LISTS, _BOUNDS = ("Exists", "DoesNotExist"), ("In", "NotIn"), {"Gt": GREATER, "Lt": LESS}
_OPERATORS = (*_LISTS, *_EXISTENCE, *_BOUNDS)


@dataclass(frozen=True, slots=True)
class NodeAffinityArgs:
    """``added_affinity`` is asked for every pod of the profile, besides what the pod asks."""

    added_affinity: core.NodeAffinity | None = None

    def problems(self, path: Path) -> Iterator[Cause]:
        if self.added_affinity is None:
            return
        path = path.child("addedAffinity")
        where = path.child("requiredDuringSchedulingIgnoredDuringExecution")
        if self.added_affinity.HasField("required_during_scheduling_ignored_during_execution"):
            terms = self.added_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
            for at, term in enumerate(terms):
                yield from _of_term(term, where.child("nodeSelectorTerms").index(at))
        where = path.child("preferredDuringSchedulingIgnoredDuringExecution")
        for at, preferred in enumerate(self.added_affinity.preferred_during_scheduling_ignored_during_execution):
            if not 1 <= preferred.weight <= 100:
                yield invalid(where.index(at).child("weight"), preferred.weight, "must be in the range 1-100")
            yield from _of_term(preferred.preference, where.index(at).child("preference"))


def _of_term(term: core.NodeSelectorTerm, path: Path) -> Iterator[Cause]:
    for at, expression in enumerate(term.match_expressions):
        where = path.child("matchExpressions").index(at)
        if expression.operator in _OPERATORS:
            yield from _of_expression(expression, where)
        else:
            yield not_supported(where.child("operator"), expression.operator, _OPERATORS)
    for at, expression in enumerate(term.match_fields):
        where = path.child("matchFields").index(at)
        if expression.key != NAME:
            yield not_supported(where.child("key"), expression.key, (NAME,))
        if expression.operator not in _LISTS:
            yield not_supported(where.child("operator"), expression.operator, _LISTS)
        elif len(expression.values) != 1:
            yield invalid(where.child("values"), list(expression.values), "must have one element")


def _of_expression(expression: core.NodeSelectorRequirement, path: Path) -> Iterator[Cause]:
    operator, values, where = expression.operator, list(expression.values), path.child("values")
    yield from check_format(path.child("key"), expression.key, qualified_name)
    if operator in _LISTS and not values:
        yield invalid(where, values, "for 'in', 'notin' operators, values set can't be empty")
    elif operator in _EXISTENCE and values:
        yield invalid(where, values, "values set must be empty for exists and does not exist")
    elif operator in _BOUNDS and len(values) != 1:
        yield invalid(where, values, "for 'Gt', 'Lt' operators, exactly one value is required")
    yield from check_values(where, expression.key, _BOUNDS.get(operator, operator), values)

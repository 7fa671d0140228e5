"""Node selectors and node affinity terms, as the API defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core


def matches_term(term: core.NodeSelectorTerm, node: core.Node) -> bool:
    """All expressions and fields of a term; an empty term matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    labels, fields = node.metadata.labels, {"metadata.name": node.metadata.name}
    return all(_matches(requirement, labels) for requirement in term.match_expressions) and all(
        _matches(requirement, fields) for requirement in term.match_fields
    )


def matches_selector(selector: core.NodeSelector, node: core.Node) -> bool:
    """Any of the terms; without terms nothing matches."""
    return any(matches_term(term, node) for term in selector.node_selector_terms)


def matches_pod(spec: core.PodSpec, node: core.Node) -> bool:
    """``nodeSelector`` and the required node affinity of a pod."""
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    affinity = spec.affinity.node_affinity
    required = "required_during_scheduling_ignored_during_execution"
    return not affinity.HasField(required) or matches_selector(getattr(affinity, required), node)


def _matches(requirement: core.NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    value, operator = values.get(requirement.key), requirement.operator
    if operator == "In":
        return value is not None and value in requirement.values
    if operator == "NotIn":
        return value is None or value not in requirement.values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    return value is not None and _compares(operator, value, requirement.values)


def _compares(operator: str, value: str, bounds: Sequence[str]) -> bool:
    try:
        number, limit = int(value), int(bounds[0])
    except (ValueError, IndexError):
        return False
    return number > limit if operator == "Gt" else operator == "Lt" and number < limit

"""Node selectors and node affinity terms, as the API defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.selectors import integer

# The one field of a node that can be selected by.
NAME = "metadata.name"


def matches_term(term: core.NodeSelectorTerm, node: core.Node) -> bool:
    """All expressions and fields of a term; an empty term matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    labels, fields = node.metadata.labels, {NAME: node.metadata.name}
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


def only_on(name: str) -> core.NodeSelector:
    """What no node matches but the one of that name."""
    selector = core.NodeSelector()
    selector.node_selector_terms.add().match_fields.add(key=NAME, operator="In", values=[name])
    return selector


def node_named_by(spec: core.PodSpec) -> str:
    """The one node that a pod's required affinity names; empty when it names none, or several."""
    required = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    for term in required.node_selector_terms:
        for field in term.match_fields:
            if field.key == NAME and field.operator == "In":
                return str(field.values[0]) if len(field.values) == 1 else ""
    return ""


def names_in(spec: core.PodSpec) -> frozenset[str] | None:
    """The nodes that a pod's required affinity names, if each of its terms names some: no other one will do. None where one does not."""
    required = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    found = [_names_in(term) for term in required.node_selector_terms]
    if not found or any(names is None for names in found):
        return None
    return frozenset().union(*(names for names in found if names is not None))


def _names_in(term: core.NodeSelectorTerm) -> frozenset[str] | None:
    found: frozenset[str] | None = None
    for field in term.match_fields:
        if field.key == NAME and field.operator == "In":
            found = frozenset(field.values) if found is None else found.intersection(field.values)
    return found


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
    number, limit = integer(value), integer(bounds[0]) if bounds else None
    if number is None or limit is None:
        return False
    return number > limit if operator == "Gt" else operator == "Lt" and number < limit

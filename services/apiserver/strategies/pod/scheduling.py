"""Rules about where a pod may run: tolerations, affinity, topology spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    check_choice,
    check_each,
    check_format,
    check_given_choice,
    dns1123_label,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    label_value,
    not_supported,
    qualified_name,
    required,
)
from services.apiserver.strategies.selectors import validate_label_selector

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
MATCH_ALL = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def validate_tolerations(tolerations: Iterable[core.Toleration], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for index, toleration in enumerate(tolerations):
        causes += _toleration(toleration, path.index(index))
    return causes


def _toleration(toleration: core.Toleration, path: Path) -> list[Cause]:
    causes = check_format(path.child("key"), toleration.key, qualified_name) if toleration.key else []
    operator = path.child("operator")
    if not toleration.key and toleration.operator != "Exists":
        causes.append(invalid(operator, toleration.operator, MATCH_ALL))
    if toleration.HasField("toleration_seconds") and toleration.effect != "NoExecute":
        sentence = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        causes.append(invalid(path.child("effect"), toleration.effect, sentence))
    if toleration.operator in ("", "Equal"):
        if sentences := label_value(toleration.value):
            causes.append(invalid(operator, toleration.value, ";".join(sentences)))
    elif toleration.operator == "Exists":
        if toleration.value:
            causes.append(invalid(operator, CUT, "value must be empty when `operator` is 'Exists'"))
    else:
        causes.append(not_supported(operator, toleration.operator, ("Equal", "Exists")))
    return causes + check_choice(path.child("effect"), toleration.effect, EFFECTS, optional=True)


def validate_affinity(affinity: core.Affinity, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if affinity.HasField("node_affinity"):
        causes += _node_affinity(affinity.node_affinity, path.child("nodeAffinity"))
    for field, name in (("pod_affinity", "podAffinity"), ("pod_anti_affinity", "podAntiAffinity")):
        if affinity.HasField(field):
            causes += _pod_affinity(getattr(affinity, field), path.child(name))
    return causes


def _node_affinity(affinity: core.NodeAffinity, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if affinity.HasField("required_during_scheduling_ignored_during_execution"):
        causes += validate_node_selector(affinity.required_during_scheduling_ignored_during_execution, path.child(REQUIRED))
    for index, preference in enumerate(affinity.preferred_during_scheduling_ignored_during_execution):
        here = path.child(PREFERRED).index(index)
        causes += _weight(preference.weight, here.child("weight"))
        causes += _node_selector_term(preference.preference, here.child("preference"), any_value=True)
    return causes


def _weight(weight: int, path: Path) -> list[Cause]:
    return [] if 1 <= weight <= 100 else [invalid(path, weight, "must be in the range 1-100")]


def validate_node_selector(selector: core.NodeSelector, path: Path) -> list[Cause]:
    here = path.child("nodeSelectorTerms")
    if not selector.node_selector_terms:
        return [required(here, "must have at least one node selector term")]
    return [cause for index, term in enumerate(selector.node_selector_terms) for cause in _node_selector_term(term, here.index(index))]


def _node_selector_term(term: core.NodeSelectorTerm, path: Path, *, any_value: bool = False) -> list[Cause]:
    """``any_value``: as Kubernetes does, what is but preferred may name values that no label has."""
    causes: list[Cause] = []
    for index, rule in enumerate(term.match_expressions):
        here = path.child("matchExpressions").index(index)
        causes += _node_requirement(rule, here)
        causes += (
            []
            if any_value
            else check_each(here.child("values"), rule.values, None, lambda one, place: check_format(place, one, label_value))
        )
    for index, rule in enumerate(term.match_fields):
        here = path.child("matchFields").index(index)
        if rule.operator not in ("In", "NotIn"):
            causes.append(invalid(here.child("operator"), rule.operator, "not a valid selector operator"))
        elif len(rule.values) != 1:
            causes.append(
                required(here.child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
            )
        if rule.key == "metadata.name":
            causes += check_each(here.child("values"), rule.values, None, lambda one, place: check_format(place, one, dns1123_subdomain))
        else:
            causes.append(invalid(here.child("key"), rule.key, "not a valid field selector key"))
    return causes


def _node_requirement(rule: core.NodeSelectorRequirement, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    values = path.child("values")
    if rule.operator in ("In", "NotIn"):
        if not rule.values:
            causes.append(required(values, "must be specified when `operator` is 'In' or 'NotIn'"))
    elif rule.operator in ("Exists", "DoesNotExist"):
        if rule.values:
            causes.append(forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif rule.operator in ("Gt", "Lt"):
        if len(rule.values) != 1:
            causes.append(required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        causes.append(invalid(path.child("operator"), rule.operator, "not a valid selector operator"))
    return causes + check_format(path.child("key"), rule.key, qualified_name)


def _pod_affinity(affinity: Any, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for index, term in enumerate(affinity.required_during_scheduling_ignored_during_execution):
        causes += _pod_affinity_term(term, path.child(REQUIRED).index(index))
    for index, weighted in enumerate(affinity.preferred_during_scheduling_ignored_during_execution):
        here = path.child(PREFERRED).index(index)
        causes += _weight(weighted.weight, here.child("weight"))
        causes += _pod_affinity_term(weighted.pod_affinity_term, here.child("podAffinityTerm"))
    return causes


def _pod_affinity_term(term: core.PodAffinityTerm, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if term.HasField("label_selector"):
        causes += validate_label_selector(term.label_selector, path.child("labelSelector"))
    if term.HasField("namespace_selector"):
        causes += validate_label_selector(term.namespace_selector, path.child("namespaceSelector"))
    for namespace in term.namespaces:
        causes += check_format(path.child("namespace"), namespace, dns1123_label)
    selector = term.label_selector if term.HasField("label_selector") else None
    causes += _label_keys(term.match_label_keys, selector, path.child("matchLabelKeys"))
    causes += _label_keys(term.mismatch_label_keys, selector, path.child("mismatchLabelKeys"))
    causes += _said_twice(term.match_label_keys, selector, path)
    for index, key in enumerate(term.match_label_keys):
        if key in term.mismatch_label_keys:
            causes.append(invalid(path.child("matchLabelKeys").index(index), key, "exists in both matchLabelKeys and mismatchLabelKeys"))
    return causes + _topology_key(term.topology_key, path.child("topologyKey"))


def _label_keys(keys: Sequence[str], selector: meta.LabelSelector | None, path: Path) -> list[Cause]:
    if keys and selector is None:
        return [forbidden(path, "must not be specified when labelSelector is not set")]
    return [cause for index, key in enumerate(keys) for cause in check_format(path.index(index), key, qualified_name)]


def _said_twice(keys: Sequence[str], selector: meta.LabelSelector | None, path: Path) -> list[Cause]:
    """Keys of which the selector had something to say before what ``merge_label_keys`` has added."""
    if selector is None:
        return []
    seen, causes = set(selector.match_labels), []
    for rule in selector.match_expressions:
        if rule.key in keys and rule.key in seen:
            causes.append(invalid(path.index(list(keys).index(rule.key)), rule.key, "exists in both matchLabelKeys and labelSelector"))
        seen.add(rule.key)
    return causes


def _topology_key(key: str, path: Path) -> list[Cause]:
    return ([] if key else [required(path, "can not be empty")]) + check_format(path, key, qualified_name)


def _spread_key(key: str, path: Path) -> list[Cause]:
    return [] if key else [required(path, "can not be empty")]


def validate_topology_spread(constraints: Iterable[core.TopologySpreadConstraint], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    pairs = [(constraint.topology_key, constraint.when_unsatisfiable) for constraint in constraints]
    for index, constraint in enumerate(constraints):
        here = path.index(index)
        if constraint.max_skew <= 0:
            causes.append(invalid(here.child("maxSkew"), constraint.max_skew, "must be greater than zero"))
        causes += _spread_key(constraint.topology_key, here.child("topologyKey"))
        choices = ("DoNotSchedule", "ScheduleAnyway")
        if constraint.when_unsatisfiable not in choices:
            causes.append(not_supported(here.child("whenUnsatisfiable"), constraint.when_unsatisfiable, choices))
        if pairs[index] in pairs[index + 1 :]:
            causes.append(duplicate(here.child("{topologyKey, whenUnsatisfiable}"), "{" + ", ".join(pairs[index]) + "}"))
        causes += _min_domains(constraint, here.child("minDomains"))
        for field, name in (("node_affinity_policy", "nodeAffinityPolicy"), ("node_taints_policy", "nodeTaintsPolicy")):
            causes += check_given_choice(here.child(name), constraint, field, ("Honor", "Ignore"))
        selector = constraint.label_selector if constraint.HasField("label_selector") else None
        keys = here.child("matchLabelKeys")
        causes += _label_keys(constraint.match_label_keys, selector, keys) + _said_twice(constraint.match_label_keys, selector, keys)
        if selector is not None:
            causes += validate_label_selector(selector, here.child("labelSelector"))
    return causes


def _min_domains(constraint: core.TopologySpreadConstraint, path: Path) -> list[Cause]:
    if not constraint.HasField("min_domains"):
        return []
    causes = []
    if constraint.min_domains <= 0:
        causes.append(invalid(path, constraint.min_domains, "must be greater than 0"))
    if constraint.when_unsatisfiable != "DoNotSchedule":
        sentence = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {constraint.when_unsatisfiable}"
        causes.append(invalid(path, constraint.min_domains, sentence))
    return causes

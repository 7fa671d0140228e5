"""Rules about label selectors inside objects."""

from __future__ import annotations

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, Structure, check_format, forbidden, invalid, label_value, qualified_name, required
from services.apiserver.strategies.metadata import validate_labels


def validate_label_selector(selector: meta.LabelSelector, path: Path) -> list[Cause]:
    causes = validate_labels(selector.match_labels, path.child("matchLabels"))
    for index, rule in enumerate(selector.match_expressions):
        here = path.child("matchExpressions").index(index)
        if rule.operator in ("In", "NotIn"):
            if not rule.values:
                causes.append(required(here.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
        elif rule.operator in ("Exists", "DoesNotExist"):
            if rule.values:
                causes.append(forbidden(here.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
        else:
            causes.append(invalid(here.child("operator"), rule.operator, "not a valid selector operator"))
        causes += check_format(here.child("key"), rule.key, qualified_name)
        for position, value in enumerate(rule.values):
            causes += check_format(here.child("values").index(position), value, label_value)
    return causes


def selector_shown(selector: meta.LabelSelector) -> Structure:
    """A selector as Kubernetes' error messages show it."""
    found = Structure(matchLabels=dict(selector.match_labels)) if selector.match_labels else Structure()
    if selector.match_expressions:
        found["matchExpressions"] = [_rule_shown(rule) for rule in selector.match_expressions]
    return found


def _rule_shown(rule: meta.LabelSelectorRequirement) -> Structure:
    return Structure(key=rule.key, operator=rule.operator, **({"values": list(rule.values)} if rule.values else {}))

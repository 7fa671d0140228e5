"""Rules about label selectors inside objects."""

from __future__ import annotations

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import GoSyntax, Path, check_format, forbidden, invalid, label_value, qualified_name, required, shown
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


def go_selector(selector: meta.LabelSelector) -> GoSyntax:
    """A selector as Kubernetes' error messages write it."""
    labels = shown(dict(selector.match_labels)) if selector.match_labels else "map[string]string(nil)"
    rules = ", ".join(
        f"v1.LabelSelectorRequirement{{Key:{shown(rule.key)}, Operator:{shown(rule.operator)}, Values:{shown(list(rule.values))}}}"
        for rule in selector.match_expressions
    )
    expressions = f"[]v1.LabelSelectorRequirement{{{rules}}}" if rules else "[]v1.LabelSelectorRequirement(nil)"
    return GoSyntax(f"v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:{expressions}}}")

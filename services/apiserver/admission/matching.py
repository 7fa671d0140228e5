"""Which requests a webhook or a policy is about, as its configuration says it: rules and selectors, compiled. Pure.

Specified by Kubernetes' ``admissionregistration.k8s.io/v1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.machinery.resources import Resource, Version
from knarr.machinery.selectors import Selector, label_selector
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes

ALL = "*"
NAMESPACED, CLUSTER = "Namespaced", "Cluster"
EQUIVALENT = "Equivalent"
NAMESPACES = "namespaces"
# Nobody stands between an administrator and what says who stands there.
GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(
    f"{sort}{kind}"
    for sort in ("mutating", "validating")
    for kind in ("webhookconfigurations", "admissionpolicies", "admissionpolicybindings")
)


def is_exempt(resource: Resource) -> bool:
    """Whether no webhook and no policy is ever asked about the resource: it has configurations of them."""
    return resource.storage.group == GROUP and resource.plural in EXEMPT


def is_namespaces(resource: Resource) -> bool:
    return resource.plural == NAMESPACES and not resource.storage.group


class Rule:
    """Operations on resources, in versions; ``names`` of objects, where a rule may name them (none: all)."""

    __slots__ = ("_groups", "_names", "_operations", "_resources", "_scope", "_versions")

    def __init__(self, said: Any, names: Iterable[str] = ()) -> None:
        """``said`` is a RuleWithOperations."""
        self._operations, rule = frozenset(said.operations), said.rule
        self._groups, self._versions, self._scope = frozenset(rule.api_groups), frozenset(rule.api_versions), rule.scope or ALL
        self._resources = [tuple(text.split("/", 1)) if "/" in text else (text, "") for text in rule.resources]
        self._names = frozenset(names)

    def means(self, name: str) -> bool:
        """Whether it is about an object of the name."""
        return not self._names or name in self._names

    def matches(self, operation: str, version: Version, subresource: str) -> bool:
        resource = version.resource
        return (
            _has(self._operations, operation)
            and _has(self._groups, version.group)
            and _has(self._versions, version.version)
            and (self._scope == ALL or (self._scope == NAMESPACED) is resource.namespaced)
            and any(plural in (ALL, resource.plural) and sub in (ALL, subresource) for plural, sub in self._resources)
        )


def _has(said: frozenset[str], one: str) -> bool:
    return one in said or ALL in said


@dataclass(frozen=True, slots=True)
class Match:
    """``equivalent``: an object of a version that no rule names is meant too if one names another version of it."""

    rules: Sequence[Rule]
    excluded: Sequence[Rule]
    equivalent: bool
    namespaces: Selector
    objects: Selector

    @classmethod
    def of_webhook(cls, webhook: Any) -> Match:
        rules = [Rule(said) for said in webhook.rules]
        return cls(rules, (), webhook.match_policy == EQUIVALENT, *_selectors(webhook))

    @classmethod
    def of_resources(cls, said: Any) -> Match:
        """From MatchResources."""
        rules, excluded = (
            [Rule(one.rule_with_operations, one.resource_names) for one in rules]
            for rules in (said.resource_rules, said.exclude_resource_rules)
        )
        return cls(rules, excluded, said.match_policy == EQUIVALENT, *_selectors(said))

    def version(self, operation: str, version: Version, subresource: str, name: str) -> Version | None:
        """The version in which a request about an object of that name is looked at: its own, or an equivalent one, earlier rules first.
        None if it is not meant. As in Kubernetes no rule that names objects means one that has no name yet."""
        if self._matching([rule for rule in self.excluded if rule.means(name)], operation, version, subresource) is not None:
            return None
        if not self.rules:
            return version
        return self._matching([rule for rule in self.rules if rule.means(name)], operation, version, subresource)

    def may_concern(self, operation: str, version: Version, subresource: str) -> bool:
        """Whether such a request may be meant, whatever its object."""
        return not self.rules or self._matching(self.rules, operation, version, subresource) is not None

    def _matching(self, rules: Sequence[Rule], operation: str, version: Version, subresource: str) -> Version | None:
        if any(rule.matches(operation, version, subresource) for rule in rules):
            return version
        if not self.equivalent:
            return None
        others = [other for other in version.resource.versions if other is not version and other.served]
        return next((other for rule in rules for other in others if rule.matches(operation, other, subresource)), None)

    def selects(self, attributes: Attributes, namespace_labels: Mapping[str, str] | None) -> bool:
        """Whether the labels of the namespace (None where there is none) and of the object, the new or the old one, are such."""
        if not self.namespaces.everything and namespace_labels is not None and not self.namespaces.matches(namespace_labels):
            return False
        if self.objects.everything:
            return True
        found = (labels_of(obj) for obj in (attributes.obj, attributes.old) if obj is not None)
        return any(labels is not None and self.objects.matches(labels) for labels in found)


def _selectors(said: Any) -> tuple[Selector, Selector]:
    return label_selector(said.namespace_selector), label_selector(said.object_selector)


def labels_of(obj: Any) -> Mapping[str, str] | None:
    """None where the body of a sub-resource has no metadata."""
    metadata = getattr(obj, "metadata", None)
    return metadata.labels if metadata is not None else None


def place_of(attributes: Attributes) -> str:
    """The namespace that a request is in; empty where it is in none. As in Kubernetes a namespace lies in itself."""
    return attributes.name if is_namespaces(attributes.resource) else attributes.namespace


def own_labels(attributes: Attributes) -> Mapping[str, str] | None:
    """Of a namespace that is made or changed: it is selected by the labels that it shall have. None for everything else."""
    if is_namespaces(attributes.resource) and not attributes.subresource and attributes.operation in (CREATE, UPDATE):
        return labels_of(attributes.obj)
    return None

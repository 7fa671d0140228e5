"""The strategies of flowcontrol.apiserver.k8s.io: which requests belong together, and how many of them are served at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import log2
from typing import Any, ClassVar

from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.machinery.errors import Cause
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.validation import (
    CUT,
    Path,
    Structure,
    check_format,
    dns1123_label,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from knarr.objects.copies import copy_field, copy_of
from services.apiserver.fairness.suggested import mandatory_levels, mandatory_schemas
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, age, columns

EXEMPT, LIMITED = "Exempt", "Limited"
QUEUE, REJECT = "Queue", "Reject"
METHODS = ("ByNamespace", "ByUser")
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
KINDS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
FIELDS = {"serviceAccount": "service_account", "user": "user", "group": "group"}
PRECEDENCE, MAX_PRECEDENCE = 1000, 10_000
SHARES, LENDABLE, MAX_LENDABLE = 30, 0, 100
QUEUES, HAND_SIZE, QUEUE_LENGTH, MAX_QUEUES = 64, 8, 50, 10_000_000
# A hand is dealt by so many bits of a hash.
MAX_HAND_BITS = 60
WILDCARD = "*"


class _FlowControlStrategy(Strategy):
    """A spec change makes a new generation. A write to the status leaves the metadata as they are."""

    has_generation = True
    kept_by_status: ClassVar[Fields] = {"f:metadata": {}}

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        super().prepare_for_status_update(new, old)
        revision = new.metadata.resource_version
        copy_field("metadata", new, old)
        new.metadata.resource_version = revision

    def validate_status_update(self, new: Any, old: Any) -> list[Cause]:
        return _conditions(new.status)


class FlowSchemaStrategy(_FlowControlStrategy):
    columns = columns("Name", "PriorityLevel", "MatchingPrecedence", "DistinguisherMethod", "Age", "MissingPL")

    def default(self, obj: flowcontrol.FlowSchema) -> None:
        obj.spec.matching_precedence = obj.spec.matching_precedence or PRECEDENCE

    def validate(self, obj: flowcontrol.FlowSchema) -> list[Cause]:
        spec = obj.spec
        causes = _precedence(obj.metadata.name, spec.matching_precedence, SPEC.child("matchingPrecedence"))
        if spec.HasField("distinguisher_method"):
            method = spec.distinguisher_method.type
            if method not in METHODS:
                causes.append(not_supported(SPEC.child("distinguisherMethod", "type"), Structure(Type=method), METHODS))
        name, here = spec.priority_level_configuration.name, SPEC.child("priorityLevelConfiguration", "name")
        causes += check_format(here, name, dns1123_subdomain) if name else [required(here, "must reference a priority level")]
        for index, rule in enumerate(spec.rules):
            causes += _rule(rule, SPEC.child("rules").index(index))
        fixed = next((must.spec for must in mandatory_schemas() if must.metadata.name == obj.metadata.name), spec)
        return causes if spec == fixed else [*causes, invalid(SPEC, CUT, f"spec of '{obj.metadata.name}' must equal the fixed value")]

    def cells(self, obj: flowcontrol.FlowSchema, now: datetime) -> list[object]:
        spec = obj.spec
        method = spec.distinguisher_method.type if spec.HasField("distinguisher_method") else NONE
        dangling = next((condition.status for condition in obj.status.conditions if condition.type == "Dangling"), "?")
        level = spec.priority_level_configuration.name
        return [obj.metadata.name, level, spec.matching_precedence, method, age(obj, now), dangling]


def _precedence(name: str, value: int, path: Path) -> list[Cause]:
    if value <= 0:
        return [invalid(path, value, "must be a positive value")]
    if value > MAX_PRECEDENCE:
        return [invalid(path, value, f"must not be greater than {MAX_PRECEDENCE}")]
    if value == 1 and name != "exempt":
        return [invalid(path, value, "only the schema named 'exempt' may have matchingPrecedence 1")]
    return []


def _rule(rule: flowcontrol.PolicyRulesWithSubjects, path: Path) -> list[Cause]:
    here = path.child("subjects")
    causes = [] if rule.subjects else [required(here, "subjects must contain at least one value")]
    for index, subject in enumerate(rule.subjects):
        causes += _subject(subject, here.index(index))
    if not rule.resource_rules and not rule.non_resource_rules:
        causes.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for index, resources in enumerate(rule.resource_rules):
        causes += _resources(resources, path.child("resourceRules").index(index))
    for index, paths in enumerate(rule.non_resource_rules):
        place = path.child("nonResourceRules").index(index)
        causes += _verbs(paths.verbs, place.child("verbs"))
        missing = "nonResourceURLs must contain at least one value"
        causes += _listed(paths.non_resource_urls, place.child("nonResourceURLs"), missing, "non-resource URLs")
        if WILDCARD not in paths.non_resource_urls:
            for position, text in enumerate(paths.non_resource_urls):
                causes += check_format(place.child("nonResourceURLs").index(position), text, _path)
    return causes


def _path(text: str) -> list[str]:
    """A path of the server, or all those that begin alike. Of what is wrong with one the first is told."""
    if text == "/":
        return []
    wildcards = text.count(WILDCARD)
    wrong = (
        (not text, "must not be empty"),
        (not text.startswith("/"), "must start with slash"),
        (" " in text, "must not contain white-space"),
        ("//" in text, "must not contain double slash"),
        (wildcards > 1 or (wildcards and not text.endswith("/*")), "wildcard can only do suffix matching"),
    )
    return next(([sentence] for is_wrong, sentence in wrong if is_wrong), [])


def _subject(subject: flowcontrol.Subject, path: Path) -> list[Cause]:
    """Of the three ways to name somebody the one that the kind says."""
    own = KINDS.get(subject.kind)
    if own is None:
        return [not_supported(path.child("kind"), subject.kind, KINDS)]
    causes: list[Cause] = []
    for kind, name in KINDS.items():
        given = subject.HasField(FIELDS[name])
        if name != own and given:
            causes.append(forbidden(path.child(name), f"{name} is forbidden when subject kind is not '{kind}'"))
        if name == own and not given:
            causes.append(required(path.child(name), f"{name} is required when subject kind is '{kind}'"))
    found = getattr(subject, FIELDS[own])
    if not subject.HasField(FIELDS[own]):
        return causes
    if not found.name:
        causes.append(required(path.child(own, "name")))
    elif own == "serviceAccount" and found.name != WILDCARD:
        causes += check_format(path.child(own, "name"), found.name, dns1123_subdomain)
    if own == "serviceAccount":
        here = path.child(own, "namespace")
        words = "must specify namespace for service account"
        causes += check_format(here, found.namespace, dns1123_label) if found.namespace else [required(here, words)]
    return causes


def _resources(rule: flowcontrol.ResourcePolicyRule, path: Path) -> list[Cause]:
    causes = _verbs(rule.verbs, path.child("verbs"))
    groups = "resource rules must supply at least one api group"
    causes += _listed(rule.api_groups, path.child("apiGroups"), groups, "api groups")
    causes += _listed(rule.resources, path.child("resources"), "resource rules must supply at least one resource", "resources")
    here = path.child("namespaces")
    if rule.namespaces or not rule.cluster_scope:
        words = "resource rules that are not cluster scoped must supply at least one namespace"
        causes += _listed(rule.namespaces, here, words, "namespaces")
    if WILDCARD not in rule.namespaces:
        intro = "each member of this list must be '*' or a DNS-1123 label; "
        for index, name in enumerate(rule.namespaces):
            causes += [invalid(here.index(index), name, intro + sentence) for sentence in dns1123_label(name)]
    return causes


def _verbs(verbs: Sequence[str], path: Path) -> list[Cause]:
    causes = _listed(verbs, path, "verbs must contain at least one value", "verbs")
    if not causes and WILDCARD not in verbs and not set(verbs) <= set(VERBS):
        causes.append(not_supported(path, list(verbs), VERBS))
    return causes


def _listed(values: Sequence[str], path: Path, missing: str, others: str) -> list[Cause]:
    if not values:
        return [required(path, missing)]
    if len(values) > 1 and WILDCARD in values:
        return [invalid(path, list(values), f"if '*' is present, must not specify other {others}")]
    return []


def _conditions(status: Any) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate(status.conditions):
        here = STATUS.child("conditions").index(index).child("type")
        if condition.type in seen:
            causes.append(duplicate(here, condition.type))
        if not condition.type:
            causes.append(required(here, "must not be empty"))
        seen.add(condition.type)
    return causes


class PriorityLevelConfigurationStrategy(_FlowControlStrategy):
    columns = columns("Name", "Type", "NominalConcurrencyShares", "Queues", "HandSize", "QueueLengthLimit", "Age")

    def default(self, obj: flowcontrol.PriorityLevelConfiguration) -> None:
        spec = obj.spec
        if spec.HasField("limited"):
            _default_shares(spec.limited, SHARES)
            if spec.limited.limit_response.HasField("queuing"):
                queuing = spec.limited.limit_response.queuing
                queuing.queues = queuing.queues or QUEUES
                queuing.hand_size = queuing.hand_size or HAND_SIZE
                queuing.queue_length_limit = queuing.queue_length_limit or QUEUE_LENGTH
        if spec.type == EXEMPT:
            _default_shares(spec.exempt, 0)

    def validate(self, obj: flowcontrol.PriorityLevelConfiguration) -> list[Cause]:
        spec, here = obj.spec, SPEC.child("type")
        causes: list[Cause] = []
        if (obj.metadata.name == "exempt") != (spec.type == EXEMPT):
            causes.append(invalid(here, spec.type, "type must be 'Exempt' if and only if name is 'exempt'"))
        causes += _fixed_level(obj.metadata.name, spec)
        if spec.type not in (EXEMPT, LIMITED):
            return [*causes, not_supported(here, spec.type, (EXEMPT, LIMITED))]
        if spec.type == EXEMPT:
            if spec.HasField("limited"):
                causes.append(forbidden(SPEC.child("limited"), "must be nil if the type is not Limited"))
            return causes + _shares(spec.exempt, SPEC.child("exempt"))
        if spec.HasField("exempt"):
            causes.append(forbidden(SPEC.child("exempt"), "must be nil if the type is Limited"))
        if not spec.HasField("limited"):
            return [*causes, required(SPEC.child("limited"), "must not be empty when type is Limited")]
        return causes + _limited(spec.limited, SPEC.child("limited"))

    def cells(self, obj: flowcontrol.PriorityLevelConfiguration, now: datetime) -> list[object]:
        limited, response = obj.spec.limited, obj.spec.limited.limit_response
        shares = limited.nominal_concurrency_shares if obj.spec.HasField("limited") else NONE
        queues = [getattr(response.queuing, field) if response.HasField("queuing") else NONE for field in _QUEUING]
        return [obj.metadata.name, obj.spec.type, shares, *queues, age(obj, now)]


def _fixed_level(name: str, spec: flowcontrol.PriorityLevelConfigurationSpec) -> list[Cause]:
    """Of the exempt level only its shares can be chosen, of that for the rest nothing."""
    fixed = next((must.spec for must in mandatory_levels() if must.metadata.name == name), spec)
    if name != "exempt":
        return [] if spec == fixed else [invalid(SPEC, CUT, f"spec of '{name}' must equal the fixed value")]
    found = copy_of(spec)
    copy_field("exempt", found, fixed)
    return [] if found == fixed else [invalid(SPEC, CUT, f"spec of '{name}' except the 'spec.exempt' field must equal the fixed value")]


_QUEUING = ("queues", "hand_size", "queue_length_limit")


def _default_shares(level: Any, shares: int) -> None:
    if not level.HasField("nominal_concurrency_shares"):
        level.nominal_concurrency_shares = shares
    if not level.HasField("lendable_percent"):
        level.lendable_percent = LENDABLE


def _shares(level: Any, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if level.nominal_concurrency_shares < 0:
        causes.append(invalid(path.child("nominalConcurrencyShares"), level.nominal_concurrency_shares, "must be a non-negative integer"))
    if not 0 <= level.lendable_percent <= MAX_LENDABLE:
        causes.append(invalid(path.child("lendablePercent"), level.lendable_percent, "must be between 0 and 100, inclusive"))
    return causes


def _limited(limited: flowcontrol.LimitedPriorityLevelConfiguration, path: Path) -> list[Cause]:
    causes = _shares(limited, path)
    if limited.borrowing_limit_percent < 0:
        words = "if specified, must be a non-negative integer"
        causes.append(invalid(path.child("borrowingLimitPercent"), limited.borrowing_limit_percent, words))
    response, here = limited.limit_response, path.child("limitResponse")
    if response.type not in (QUEUE, REJECT):
        return [*causes, not_supported(here.child("type"), response.type, (QUEUE, REJECT))]
    if response.type == REJECT:
        words = "must be nil if limited.limitResponse.type is not Limited"
        return [*causes, forbidden(here.child("queuing"), words)] if response.HasField("queuing") else causes
    if not response.HasField("queuing"):
        return [*causes, required(here.child("queuing"), "must not be empty if limited.limitResponse.type is Limited")]
    return causes + _queuing(response.queuing, here.child("queuing"))


def _queuing(queuing: flowcontrol.QueuingConfiguration, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for value, name, most in (
        (queuing.queue_length_limit, "queueLengthLimit", None),
        (queuing.queues, "queues", MAX_QUEUES),
        (queuing.hand_size, "handSize", None),
    ):
        if value <= 0:
            causes.append(invalid(path.child(name), value, "must be positive"))
        elif most is not None and value > most:
            causes.append(invalid(path.child(name), value, f"must not be greater than {most}"))
    if queuing.hand_size <= 0:
        return causes
    if queuing.hand_size > queuing.queues:
        words = f"should not be greater than queues ({queuing.queues})"
        return [*causes, invalid(path.child("handSize"), queuing.hand_size, words)]
    return causes + _hand(queuing, path.child("handSize"))


def _hand(queuing: flowcontrol.QueuingConfiguration, path: Path) -> list[Cause]:
    """A hand of queues is dealt by the bits of one hash: of more than sixty there are not enough."""
    bits = 0.0
    for taken in range(queuing.hand_size):
        bits += log2(queuing.queues - taken)
        if bits > MAX_HAND_BITS:
            deck = f"deckSize {queuing.queues} and handSize {queuing.hand_size}"
            words = f"required entropy bits of {deck} should not be greater than {MAX_HAND_BITS}"
            return [invalid(path, queuing.hand_size, words)]
    return []

"""The strategies of what limits a namespace: ResourceQuota and LimitRange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    check_format,
    duplicate,
    forbidden,
    invalid,
    qualified_name,
    required,
    too_many,
)
from knarr.objects.amounts import exact
from knarr.objects.whole_pods import HUGE_PAGES
from services.apiserver.strategies.amounts import check_amount, check_form, is_whole
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.pod.resources import validate_resource_name
from services.apiserver.strategies.resourcenames import COMPUTE, CONTAINER_NAMES, COUNTED, QUOTA_NAMES, STANDARD_NAMES
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

ON_PODS = COMPUTE | {"pods"}
# By scope: the resources that it can be used with; None for any.
SCOPES: dict[str, frozenset[str] | None] = {
    "Terminating": ON_PODS,
    "NotTerminating": ON_PODS,
    "NotBestEffort": ON_PODS,
    "PriorityClass": ON_PODS,
    "CrossNamespacePodAffinity": ON_PODS,
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
# There are seven; each is compared with each resource. Kubernetes leaves their number to the size of the whole.
MAX_SCOPES = 64
CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
ONLY_EXISTS = frozenset({"BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"})
EXISTS_WORDS = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)
LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")


class ResourceQuotaStrategy(Strategy):
    columns = columns("Name", "Age", "Request", "Limit")
    returns_deleted = True

    def validate(self, obj: core.ResourceQuota) -> list[Cause]:
        return _amounts(obj.spec.hard, SPEC.child("hard")) + _scopes(obj.spec) + _scope_selector(obj.spec)

    def validate_update(self, new: core.ResourceQuota, old: core.ResourceQuota) -> list[Cause]:
        if set(new.spec.scopes) == set(old.spec.scopes):
            return []
        return [invalid(SPEC.child("scopes"), list(new.spec.scopes), "field is immutable")]

    def validate_status_update(self, new: core.ResourceQuota, old: core.ResourceQuota) -> list[Cause]:
        return _amounts(new.status.hard, STATUS.child("hard")) + _amounts(new.status.used, STATUS.child("used"))

    def cells(self, obj: core.ResourceQuota, now: datetime) -> list[object]:
        requests, limits = list[str](), list[str]()
        for name in sorted(obj.status.hard):
            used = obj.status.used[name].string if name in obj.status.used else "0"
            part = limits if name.startswith("limits.") else requests
            part.append(f"{name}: {used}/{obj.status.hard[name].string}")
        return [obj.metadata.name, age(obj, now), ", ".join(requests), ", ".join(limits)]


def _amounts(amounts: Mapping[str, meta.Quantity], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for name in sorted(amounts):
        here = path.key(name)
        causes += _quota_name(name, here) + check_amount(amounts[name], here)
        if (name in COUNTED or _is_extended(name)) and not is_whole(amounts[name]):
            causes.append(invalid(here, amounts[name].string, "must be an integer"))
    return causes


def _quota_name(name: str, path: Path) -> list[Cause]:
    causes = check_format(path, name, qualified_name)
    if "/" in name or name.removeprefix("requests.").startswith(HUGE_PAGES):
        return causes
    if not causes and name not in STANDARD_NAMES:
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    if name not in QUOTA_NAMES:
        causes.append(invalid(path, name, "must be a standard resource for quota"))
    return causes


def _is_extended(name: str) -> bool:
    """A device, or a count of objects: whatever is named with a domain that is not Kubernetes' own."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def _scopes(spec: core.ResourceQuotaSpec) -> list[Cause]:
    path, scopes = SPEC.child("scopes"), list(spec.scopes)
    if len(scopes) > MAX_SCOPES:
        return [too_many(path, len(scopes), MAX_SCOPES)]
    causes: list[Cause] = []
    for scope in scopes:
        if scope not in SCOPES:
            causes.append(invalid(path, list(scopes), "unsupported scope"))
        causes += [invalid(path, list(scopes), "unsupported scope applied to resource") for _ in _outside(scope, spec.hard)]
    for conflict in CONFLICTS:
        if set(conflict) <= set(scopes):
            causes.append(invalid(path, list(scopes), "conflicting scopes"))
    return causes


def _outside(scope: str, names: Iterable[str]) -> list[str]:
    """The names that a scope cannot be used with."""
    usable = SCOPES.get(scope)
    return [name for name in sorted(names) if name in QUOTA_NAMES and usable is not None and name not in usable]


def _scope_selector(spec: core.ResourceQuotaSpec) -> list[Cause]:
    path, rules = SPEC.child("scopeSelector", "matchExpressions"), spec.scope_selector.match_expressions
    if len(rules) > MAX_SCOPES:
        return [too_many(path, len(rules), MAX_SCOPES)]
    causes: list[Cause] = []
    for rule in rules:
        if rule.scope_name not in SCOPES:
            causes.append(invalid(path.child("scopeName"), rule.scope_name, "unsupported scope"))
        causes += [invalid(path, CUT, "unsupported scope applied to resource") for _ in _outside(rule.scope_name, spec.hard)]
        if rule.scope_name in ONLY_EXISTS and rule.operator != "Exists":
            causes.append(invalid(path.child("operator"), rule.operator, EXISTS_WORDS))
        causes += _operator(rule, path)
    return causes


def _operator(rule: core.ScopedResourceSelectorRequirement, path: Path) -> list[Cause]:
    if rule.operator in ("In", "NotIn"):
        words = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [] if rule.values else [required(path.child("values"), words)]
    if rule.operator in ("Exists", "DoesNotExist"):
        words = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [invalid(path.child("values"), list(rule.values), words)] if rule.values else []
    return [invalid(path.child("operator"), rule.operator, "not a valid selector operator")]


class LimitRangeStrategy(Strategy):
    creates_on_update = True

    def default(self, obj: core.LimitRange) -> None:
        """Of a container a limit is the maximum, and a request the limit or the minimum, where none is given."""
        for item in obj.spec.limits:
            if item.type == "Container":
                _fill(item.default, item.max)
                _fill(item.default_request, item.default)
                _fill(item.default_request, item.min)

    def validate(self, obj: core.LimitRange) -> list[Cause]:
        causes: list[Cause] = []
        types: set[str] = set()
        for index, item in enumerate(obj.spec.limits):
            here = SPEC.child("limits").index(index)
            causes += _limit_type(item.type, here.child("type"))
            if item.type in types:
                causes.append(duplicate(here.child("type"), item.type))
            types.add(item.type)
            causes += _limit(item, here)
        return causes


def _fill(amounts: Mapping[str, meta.Quantity], others: Mapping[str, meta.Quantity]) -> None:
    for name in others:
        if name not in amounts:
            amounts[name].CopyFrom(others[name])


def _limit_type(name: str, path: Path) -> list[Cause]:
    causes = check_format(path, name, qualified_name)
    if causes or "/" in name or name in LIMIT_TYPES:
        return causes
    return [invalid(path, name, "must be a standard limit type or fully qualified")]


def _limit(item: core.LimitRangeItem, path: Path) -> list[Cause]:
    amounts = {
        "max": item.max,
        "min": item.min,
        "default": item.default,
        "defaultRequest": item.default_request,
        "maxLimitRequestRatio": item.max_limit_request_ratio,
    }
    causes: list[Cause] = []
    if item.type == "Pod":
        for field in ("default", "defaultRequest"):
            if amounts.pop(field):
                causes.append(forbidden(path.child(field), "may not be specified when `type` is 'Pod'"))
    for field, found in amounts.items():
        for name in sorted(found):
            here = path.child(field).key(name)
            # Kubernetes takes negative amounts here.
            causes += _limit_name(item.type, name, here) + check_form(found[name], here)
    if item.type == "PersistentVolumeClaim" and "storage" not in item.min and "storage" not in item.max:
        words = "either minimum or maximum storage value is required, but neither was provided"
        causes.append(required(path.child("limits"), words))
    for name in sorted({name for found in amounts.values() for name in found}):
        causes += _in_order(name, {field: found[name] for field, found in amounts.items() if name in found}, path)
    return causes


def _limit_name(kind: str, name: str, path: Path) -> list[Cause]:
    if kind in ("Pod", "Container"):
        return validate_resource_name(name, path)
    causes = check_format(path, name, qualified_name)
    if causes or "/" in name or name in STANDARD_NAMES or name.startswith(HUGE_PAGES):
        return causes
    return [invalid(path, name, "must be a standard resource type or fully qualified")]


# What must not be greater than what, the field that is named, the value that is shown, and the words.
_ORDER = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)


def _in_order(name: str, found: Mapping[str, meta.Quantity], path: Path) -> list[Cause]:
    amounts = {field: number for field, value in found.items() if (number := exact(value)) is not None}
    causes: list[Cause] = []
    for low, high, field, value, words in _ORDER:
        if low in amounts and high in amounts and amounts[low] > amounts[high]:
            sentence = words.format(found[low].string, found[high].string)
            causes.append(invalid(path.child(field).key(name), found[value].string, sentence))
    if "maxLimitRequestRatio" in amounts:
        causes += _ratio(amounts, found["maxLimitRequestRatio"].string, path.child("maxLimitRequestRatio").key(name))
    both = {"default", "defaultRequest"} <= amounts.keys()
    if both and not _overcommits(name) and amounts["default"] != amounts["defaultRequest"]:
        sentence = f"default value {found['default'].string} must equal to defaultRequest value {found['defaultRequest'].string} in {name}"
        causes.append(invalid(path.child("defaultRequest").key(name), found["defaultRequest"].string, sentence))
    return causes


def _ratio(amounts: Mapping[str, Decimal], text: str, path: Path) -> list[Cause]:
    ratio = amounts["maxLimitRequestRatio"]
    if ratio < 1:
        return [invalid(path, text, f"ratio {text} is less than 1")]
    if not amounts.get("min") or "max" not in amounts:
        return []
    most = amounts["max"] / amounts["min"]
    return [invalid(path, text, f"ratio {text} is greater than max/min = {float(most):f}")] if ratio > most else []


def _overcommits(name: str) -> bool:
    """Whether more may be promised than there is: not of huge pages, and not of devices."""
    return name in CONTAINER_NAMES or ("/" not in name and not name.startswith(HUGE_PAGES))

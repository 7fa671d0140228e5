"""The strategies of roles and their bindings. A name may be anything that fits into a path."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    Structure,
    check_format,
    check_named,
    dns1123_subdomain,
    invalid,
    not_supported,
    path_segment,
    required,
)
from services.apiserver.strategies.selectors import validate_label_selector
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

GROUP = "rbac.authorization.k8s.io"
RULES, ROLE_REF, SUBJECTS = Path("rules"), Path("roleRef"), Path("subjects")
SELECTORS = Path("aggregationRule").child("clusterRoleSelectors")
ACCOUNT, USER, USERS = "ServiceAccount", "User", "Group"


class RoleStrategy(Strategy):
    name_format = staticmethod(path_segment)
    creates_on_update = True

    def validate(self, obj: rbac.Role) -> list[Cause]:
        return _rules(obj.rules, namespaced=True)


class ClusterRoleStrategy(Strategy):
    name_format = staticmethod(path_segment)
    creates_on_update = True

    def validate(self, obj: rbac.ClusterRole) -> list[Cause]:
        causes = _rules(obj.rules, namespaced=False)
        if obj.HasField("aggregation_rule"):
            selectors = obj.aggregation_rule.cluster_role_selectors
            if not selectors:
                causes.append(required(SELECTORS, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
            for index, selector in enumerate(selectors):
                wrong = validate_label_selector(selector, SELECTORS.index(index))
                causes += [*wrong, invalid(SELECTORS.index(index), None, "invalid label selector.")] if wrong else []
        return causes


def _rules(rules: Iterable[rbac.PolicyRule], *, namespaced: bool) -> list[Cause]:
    return [cause for index, rule in enumerate(rules) for cause in _rule(rule, RULES.index(index), namespaced)]


def _rule(rule: rbac.PolicyRule, path: Path, namespaced: bool) -> list[Cause]:
    """About resources, or about other paths of the server."""
    causes = [] if rule.verbs else [required(path.child("verbs"), "verbs must contain at least one value")]
    if rule.non_resource_urls:
        here, urls = path.child("nonResourceURLs"), list(rule.non_resource_urls)
        if namespaced:
            causes.append(invalid(here, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.api_groups or rule.resources or rule.resource_names:
            causes.append(invalid(here, urls, "rules cannot apply to both regular resources and non-resource URLs"))
        return causes
    if not rule.api_groups:
        causes.append(required(path.child("apiGroups"), "resource rules must supply at least one api group"))
    if not rule.resources:
        causes.append(required(path.child("resources"), "resource rules must supply at least one resource"))
    return causes


class _BindingStrategy(Strategy):
    """What a binding binds to is never changed."""

    columns = columns("Name", "Role", "Age", wide=("Users", "Groups", "ServiceAccounts"))
    name_format = staticmethod(path_segment)
    creates_on_update = True
    kinds: tuple[str, ...] = ()
    namespaced = True

    def default(self, obj: Any) -> None:
        obj.role_ref.api_group = obj.role_ref.api_group or GROUP
        for subject in obj.subjects:
            if subject.kind in (USER, USERS):
                subject.api_group = subject.api_group or GROUP

    def validate(self, obj: Any) -> list[Cause]:
        role = obj.role_ref
        causes = [] if role.api_group == GROUP else [not_supported(ROLE_REF.child("apiGroup"), role.api_group, (GROUP,))]
        if role.kind not in self.kinds:
            causes.append(not_supported(ROLE_REF.child("kind"), role.kind, self.kinds))
        causes += check_named(ROLE_REF.child("name"), role.name, path_segment)
        for index, subject in enumerate(obj.subjects):
            causes += _subject(subject, SUBJECTS.index(index), self.namespaced)
        return causes

    def validate_update(self, new: Any, old: Any) -> list[Cause]:
        if new.role_ref == old.role_ref:
            return []
        role = new.role_ref
        return [invalid(ROLE_REF, Structure(APIGroup=role.api_group, Kind=role.kind, Name=role.name), "cannot change roleRef")]

    def cells(self, obj: Any, now: datetime) -> list[object]:
        def named(kind: str) -> str:
            return ", ".join(subject.name for subject in obj.subjects if subject.kind == kind)

        accounts = ", ".join(f"{subject.namespace}/{subject.name}" for subject in obj.subjects if subject.kind == ACCOUNT)
        return [obj.metadata.name, f"{obj.role_ref.kind}/{obj.role_ref.name}", age(obj, now), named(USER), named(USERS), accounts]


class RoleBindingStrategy(_BindingStrategy):
    kinds = ("ClusterRole", "Role")


class ClusterRoleBindingStrategy(_BindingStrategy):
    kinds = ("ClusterRole",)
    namespaced = False


def _subject(subject: rbac.Subject, path: Path, namespaced: bool) -> list[Cause]:
    causes = [] if subject.name else [required(path.child("name"))]
    if subject.kind == ACCOUNT:
        if subject.name:
            causes += check_format(path.child("name"), subject.name, dns1123_subdomain)
        if subject.api_group:
            causes.append(not_supported(path.child("apiGroup"), subject.api_group, ("",)))
        if not namespaced and not subject.namespace:
            causes.append(required(path.child("namespace")))
    elif subject.kind in (USER, USERS):
        if subject.api_group != GROUP:
            causes.append(not_supported(path.child("apiGroup"), subject.api_group, (GROUP,)))
    else:
        causes.append(not_supported(path.child("kind"), subject.kind, (ACCOUNT, USER, USERS)))
    return causes

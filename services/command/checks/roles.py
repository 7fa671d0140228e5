"""Roles and bindings that are not Kubernetes' own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from knarr.service.authentication import MASTERS, UNAUTHENTICATED, User
from services.command.checks.check import Check, Weight
from services.command.checks.facts import Facts, shown

ALL = "*"
# By these somebody becomes somebody else, or has them work for him: verb, group, resource.
POWERS = (
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("impersonate", "", "users"),
    ("impersonate", "", "groups"),
    ("impersonate", "", "serviceaccounts"),
    ("create", "", "serviceaccounts/token"),
    ("create", "", "persistentvolumes"),
    ("create", "", "nodes/proxy"),
    ("update", "certificates.k8s.io", "certificatesigningrequests/approval"),
    ("update", "admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("update", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
)


def _allows(role: Any, verb: str, group: str, resource: str) -> bool:
    return any(
        _has(rule.get("verbs"), verb) and _has(rule.get("apiGroups"), group) and _has(rule.get("resources"), resource)
        for rule in role.get("rules") or ()
    )


def _has(values: Iterable[str] | None, value: str) -> bool:
    return any(found in (ALL, value) for found in values or ())


def _subjects(binding: Any) -> list[str]:
    return [
        "/".join(part for part in (subject["kind"], subject.get("namespace", ""), subject["name"]) if part)
        for subject in binding.get("subjects") or ()
    ]


def _administrators(facts: Facts) -> Sequence[str]:
    return [
        f"{shown(binding)} makes {subject} an administrator"
        for binding in facts.bindings
        if binding["roleRef"]["name"] == "cluster-admin"
        for subject in _subjects(binding)
        if subject != f"Group/{MASTERS}"
    ]


def _of_roles(words: str, judge: Callable[[Any], bool]) -> Callable[[Facts], Sequence[str]]:
    return lambda facts: [f"{shown(role)} {words}" for role in facts.roles if judge(role)]


def _is_wild(role: Any) -> bool:
    return any(ALL in (rule.get(part) or ()) for rule in role.get("rules") or () for part in ("verbs", "resources", "apiGroups"))


def _reads_secrets(role: Any) -> bool:
    return "namespace" not in role["metadata"] and any(_allows(role, verb, "", "secrets") for verb in ("list", "watch"))


def _powers(facts: Facts) -> Sequence[str]:
    return [
        f"{shown(role)} may {verb} {resource}"
        for role in facts.roles
        if not _is_wild(role)
        for verb, group, resource in POWERS
        if _allows(role, verb, group, resource)
    ]


def _defaults(facts: Facts) -> Sequence[str]:
    return [
        f"{shown(binding)} gives {binding['roleRef']['name']} to the default account of {subject.get('namespace') or 'its namespace'}"
        for binding in facts.bindings
        for subject in binding.get("subjects") or ()
        if (subject["kind"], subject["name"]) == ("ServiceAccount", "default")
    ]


def _strangers(facts: Facts) -> Sequence[str]:
    return [
        f"{shown(binding)} gives {binding['roleRef']['name']} to {subject}"
        for binding in facts.bindings
        for subject in _subjects(binding)
        if subject in (f"User/{User.ANONYMOUS.name}", f"Group/{UNAUTHENTICATED}")
    ]


CHECKS = (
    Check(
        "rbac-cluster-admin",
        "nobody is an administrator by a binding",
        "Who has the role cluster-admin may do everything, and so may whoever finds his token.",
        "Bind a role that allows what is needed; administrators are whose certificate says system:masters.",
        _administrators,
        cis=("5.1.1",),
    ),
    Check(
        "rbac-wildcards",
        "roles say what they allow",
        "A role with * allows what comes with the next definition, too.",
        "Name verbs, groups and resources.",
        _of_roles("has * in a rule", _is_wild),
        cis=("5.1.3",),
    ),
    Check(
        "rbac-secrets",
        "no role of the cluster lists Secrets",
        "Who lists them has every account's token and every password.",
        "Make it a Role of a namespace, or allow `get` of those that are named.",
        _of_roles("lists Secrets of all namespaces", _reads_secrets),
        cis=("5.1.2",),
    ),
    Check(
        "rbac-powers",
        "no role lets anybody become somebody else",
        "These rights give all others, one step later.",
        "Take them out of the role, or see who it is bound to.",
        _powers,
        Weight.ADVICE,
        cis=("5.1.8", "5.1.9", "5.1.10", "5.1.11", "5.1.12", "5.1.13"),
    ),
    Check(
        "rbac-default-accounts",
        "no role is bound to a default account",
        "Every pod that says nothing runs as it.",
        "Make an account for what needs the role, and name it in serviceAccountName.",
        _defaults,
        cis=("5.1.5",),
    ),
    Check(
        "rbac-strangers",
        "no role is bound to who is not known",
        "Anybody on the network has it.",
        "Delete the binding.",
        _strangers,
        cis=("5.1.1",),
    ),
)

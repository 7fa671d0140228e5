"""The roles and bindings that every cluster has: Kubernetes' own, with what Knarr's components need.

``roles.tsv`` has the rules, one a line, ``bindings.tsv`` to whom the roles are bound that are not for somebody's own choice. A name with
a slash is a Role, or a RoleBinding, of that namespace.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knarr.api.rbac.v1 import rbac_pb2 as rbac

FOLDER = Path(__file__).parent
GROUP = "rbac.authorization.k8s.io"
BOOTSTRAPPED = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
RECONCILED = {AUTOUPDATE: "true"}
# The roles that gather others' rules, each with the one that gathers it.
GATHERING = {"admin": "", "edit": "admin", "view": "edit"}
GATHERED = "system:aggregate-to-"
# As metrics-server has it, whose API the API server serves by itself.
METRICS_READER = "system:aggregated-metrics-reader"
CORE = "core"

Role = rbac.ClusterRole | rbac.Role
Binding = rbac.ClusterRoleBinding | rbac.RoleBinding


def defaults() -> Iterator[Role | Binding]:
    """All of them, roles first."""
    yield from roles()
    yield from bindings()


def roles() -> list[Role]:
    found: dict[str, Role] = {}
    for name, gathered_by in GATHERING.items():
        role: Any = _role(name, gathered_by)
        role.aggregation_rule.cluster_role_selectors.add().match_labels[_gathered_by(name)] = "true"
        found[name] = role
    for row in _rows("roles.tsv"):
        name = row["role"]
        if name not in found:
            found[name] = _role(name, _gatherer(name))
        found[name].rules.add(
            verbs=row["verbs"].split(),
            api_groups=["" if group == CORE else group for group in row["apiGroup"].split()],
            resources=row["resources"].split(),
            resource_names=row["names"].split(),
            non_resource_urls=row["paths"].split(),
        )
    return list(found.values())


def bindings() -> Iterator[Binding]:
    for row in _rows("bindings.tsv"):
        namespace, name = _split(row["binding"])
        binding: Binding = rbac.RoleBinding() if namespace else rbac.ClusterRoleBinding()
        _mark(binding, name, namespace)
        kind, role = ("Role" if "/" in row["role"] else "ClusterRole"), _split(row["role"])[1]
        binding.role_ref.CopyFrom(rbac.RoleRef(api_group=GROUP, kind=kind, name=role))
        for text in row["subjects"].split():
            binding.subjects.append(_subject(text))
        yield binding


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (FOLDER / name).open(newline="") as file:
        yield from csv.DictReader(file, delimiter="\t")


def _subject(text: str) -> rbac.Subject:
    """Spelled ``Group:NAME``, ``User:NAME`` or ``ServiceAccount:NAMESPACE/NAME``."""
    kind, _, named = text.partition(":")
    if kind == "ServiceAccount":
        namespace, name = _split(named)
        return rbac.Subject(kind=kind, namespace=namespace, name=name)
    return rbac.Subject(kind=kind, api_group=GROUP, name=named)


def _split(text: str) -> tuple[str, str]:
    """A namespace, which may be empty, and a name."""
    namespace, slash, name = text.partition("/")
    return (namespace, name) if slash else ("", text)


def _role(text: str, gathered_by: str = "") -> Role:
    namespace, name = _split(text)
    role: Role = rbac.Role() if namespace else rbac.ClusterRole()
    _mark(role, name, namespace)
    if gathered_by:
        role.metadata.labels[_gathered_by(gathered_by)] = "true"
    return role


def _gatherer(name: str) -> str:
    """The role that gathers one's rules; empty where none does."""
    if name == METRICS_READER:
        return "view"
    return name.removeprefix(GATHERED) if name.startswith(GATHERED) else ""


def _gathered_by(role: str) -> str:
    return f"{GROUP}/aggregate-to-{role}"


def _mark(obj: Role | Binding, name: str, namespace: str = "") -> None:
    obj.metadata.name, obj.metadata.namespace = name, namespace
    obj.metadata.labels.update(BOOTSTRAPPED)
    obj.metadata.annotations.update(RECONCILED)

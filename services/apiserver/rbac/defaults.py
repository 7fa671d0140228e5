"""The roles and bindings that every cluster has: those of Kubernetes that are not for its components.

``roles.tsv`` has their rules, one a line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.service.authentication import AUTHENTICATED
from services.apiserver.tokens.claims import ACCOUNTS_GROUP

TABLE = Path(__file__).with_name("roles.tsv")
GROUP = "rbac.authorization.k8s.io"
BOOTSTRAPPED = {"kubernetes.io/bootstrapping": "rbac-defaults"}
RECONCILED = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
# The roles that gather others' rules, each with the one that gathers it.
GATHERING = {"admin": "", "edit": "admin", "view": "edit"}
CORE = "core"
READER = "extension-apiserver-authentication-reader"
# Whom the roles are bound to that are not for somebody's own choice.
BOUND = {
    "cluster-admin": ("system:masters",),
    "system:basic-user": (AUTHENTICATED,),
    "system:discovery": (AUTHENTICATED,),
    "system:monitoring": ("system:monitoring",),
    "system:public-info-viewer": (AUTHENTICATED, "system:unauthenticated"),
    "system:service-account-issuer-discovery": (ACCOUNTS_GROUP,),
}


def defaults() -> Iterator[rbac.ClusterRole | rbac.ClusterRoleBinding | rbac.Role]:
    """All of them, roles first."""
    yield from cluster_roles()
    reader = rbac.Role()
    _mark(reader, READER, "kube-system")
    reader.rules.add(
        verbs=("get", "list", "watch"), api_groups=[""], resources=["configmaps"], resource_names=["extension-apiserver-authentication"]
    )
    yield reader
    for role, groups in BOUND.items():
        binding = rbac.ClusterRoleBinding(role_ref=rbac.RoleRef(api_group=GROUP, kind="ClusterRole", name=role))
        _mark(binding, role)
        for group in groups:
            binding.subjects.add(kind="Group", api_group=GROUP, name=group)
        yield binding


def cluster_roles() -> list[rbac.ClusterRole]:
    found: dict[str, rbac.ClusterRole] = {}
    for name, gathered_by in GATHERING.items():
        found[name] = _cluster_role(name, gathered_by)
        selector = found[name].aggregation_rule.cluster_role_selectors.add()
        selector.match_labels[_gathered_by(name)] = "true"
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            name = row["role"]
            if name not in found:
                found[name] = _cluster_role(name, name.removeprefix("system:aggregate-to-") if "aggregate-to-" in name else "")
            groups = ["" if group == CORE else group for group in row["apiGroup"].split()]
            found[name].rules.add(
                verbs=row["verbs"].split(), api_groups=groups, resources=row["resources"].split(), non_resource_urls=row["paths"].split()
            )
    return list(found.values())


def _cluster_role(name: str, gathered_by: str) -> rbac.ClusterRole:
    role = rbac.ClusterRole()
    _mark(role, name)
    if gathered_by:
        role.metadata.labels[_gathered_by(gathered_by)] = "true"
    return role


def _gathered_by(role: str) -> str:
    return f"{GROUP}/aggregate-to-{role}"


def _mark(obj: rbac.ClusterRole | rbac.ClusterRoleBinding | rbac.Role, name: str, namespace: str = "") -> None:
    obj.metadata.name, obj.metadata.namespace = name, namespace
    obj.metadata.labels.update(BOOTSTRAPPED)
    obj.metadata.annotations.update(RECONCILED)

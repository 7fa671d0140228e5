"""ClusterRoleAggregation: a role that gathers others has their rules written into it."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.selectors import label_selector


def gathers(role: rbac.ClusterRole) -> bool:
    return role.HasField("aggregation_rule")


def decide(role: rbac.ClusterRole, roles: Iterable[rbac.ClusterRole]) -> list[rbac.PolicyRule] | None:
    """The rules that a role is to have: those of the roles that its selectors choose, selector by selector and by name, each once. None
    when there is nothing to do."""
    if not gathers(role):
        return None
    others = sorted((other for other in roles if other.metadata.name != role.metadata.name), key=lambda other: str(other.metadata.name))
    found: dict[bytes, rbac.PolicyRule] = {}
    for said in role.aggregation_rule.cluster_role_selectors:
        selector = label_selector(said)
        for other in others:
            if selector.matches(other.metadata.labels):
                for rule in other.rules:
                    found.setdefault(rule.SerializeToString(deterministic=True), rule)
    wanted = list(found.values())
    return None if wanted == list(role.rules) else wanted

"""Nobody whom roles bind gives more than he has: what a service account writes into a role, or binds to somebody, it must hold itself.

Specified by Kubernetes' checks of the same kind: the verb `escalate` on the role, or `bind` on what is bound, lifts them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import orjson

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery import codec
from knarr.machinery.errors import forbidden, not_found
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.rbac.grants import BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES, Grants
from services.apiserver.rbac.rules import Rule, Wish
from services.apiserver.tokens.claims import ACCOUNTS_GROUP

# Of a rule every verb is looked at for every resource, group and name: so many at most.
MAX_COMBINATIONS = 10_000
# As many as are told.
MAX_TOLD = 10


class RoleEscalation:
    """An admission plugin: it looks at what is to be stored."""

    name: ClassVar[str] = "RoleEscalation"

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and resource in (ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS) and not subresource

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden, NotFound."""
        if ACCOUNTS_GROUP not in attributes.user.groups:
            return
        if attributes.resource in (ROLES, CLUSTER_ROLES):
            self._check_role(attributes)
        else:
            self._check_binding(attributes)

    def _check_role(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old
        gathers = isinstance(new, rbac.ClusterRole) and new.HasField("aggregation_rule")
        if old is not None and list(new.rules) == list(old.rules) and (not gathers or new.aggregation_rule == old.aggregation_rule):
            return
        if self._may(attributes, "escalate", attributes.resource, new.metadata.name):
            return
        if gathers:
            everything = rbac.PolicyRule(verbs=["*"], api_groups=["*"], resources=["*"])
            self._check_held(attributes, [everything], "must have cluster-admin privileges to use the aggregationRule: ")
        self._check_held(attributes, new.rules)

    def _check_binding(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old
        if old is not None and list(new.subjects) == list(old.subjects):
            return
        role = new.role_ref
        kind = CLUSTER_ROLES if role.kind == "ClusterRole" else ROLES
        if self._may(attributes, "bind", kind, role.name):
            return
        rules = self._grants.rules_of(role, attributes.namespace)
        if rules is None:
            raise not_found(kind.plural, role.name, kind.storage.group)
        self._check_held(attributes, [rule.said for rule in rules])

    def _may(self, attributes: Attributes, verb: str, kind: Resource, name: str) -> bool:
        wish = Wish(verb, kind.storage.group, kind.plural, name=name, namespace=attributes.namespace)
        return any(rule.allows(wish) for rule in self._grants.of(attributes.user, attributes.namespace).rules)

    def _check_held(self, attributes: Attributes, wanted: Iterable[rbac.PolicyRule], words: str = "") -> None:
        held = self._grants.of(attributes.user, attributes.namespace).rules
        lacking = [said for said in wanted if not is_held(said, held)]
        if not lacking:
            return
        told = "\n".join(orjson.dumps(codec.to_dict(said)).decode() for said in lacking[:MAX_TOLD])
        user, groups = attributes.user.name, orjson.dumps(attributes.user.groups).decode()
        detail = f'{words}user "{user}" (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{told}'
        raise forbidden(attributes.resource.plural, attributes.name, detail, attributes.resource.storage.group)


def is_held(said: rbac.PolicyRule, held: Sequence[Rule]) -> bool:
    """Whether all that a rule allows is allowed by others, taken together; one that is too large to tell is not."""
    for parts in _combinations(said):
        if len(parts) > MAX_COMBINATIONS or not all(any(rule.covers(part) for rule in held) for part in parts):
            return False
    return True


def _combinations(said: rbac.PolicyRule) -> Iterable[Sequence[Wish]]:
    """Each single thing that a rule allows; an empty name is any."""
    verbs, paths = list(said.verbs), list(said.non_resource_urls)
    names: list[Any] = list(said.resource_names) or [""]
    choices = (verbs, list(said.api_groups), list(said.resources), names)
    for count, product in (
        (len(verbs) * len(paths), (Wish(verb, path=path) for verb, path in itertools.product(verbs, paths))),
        (
            len(verbs) * len(said.api_groups) * len(said.resources) * len(names),
            (Wish(verb, group, resource, name=name) for verb, group, resource, name in itertools.product(*choices)),
        ),
    ):
        yield list(itertools.islice(product, MAX_COMBINATIONS + 1)) if count else []

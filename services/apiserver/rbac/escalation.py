"""Nobody gives more than he has: what somebody writes into a role, or binds to somebody, he must hold himself.

Specified by Kubernetes' checks of the same kind: the verb `escalate` on the role, or `bind` on what is bound, lifts them, and members of
`system:masters` are not asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import orjson

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.errors import Forbidden, forbidden, not_found
from knarr.machinery.resources import Resource
from knarr.service.authentication import MASTERS
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.aside import aside
from services.apiserver.authorization import Authorizer, imagined, permit
from services.apiserver.rbac.grants import BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES, Grants
from services.apiserver.rbac.rules import Rule, Wish
from services.apiserver.request import Request
from services.apiserver.results import Ref

# Of a rule every verb is looked at for every resource, group and name: so many at most.
MAX_COMBINATIONS = 10_000
# Each of them is held against what somebody holds, rule by rule. So often at most for all of a role: a million take half a second.
MAX_COMPARISONS = 2_000_000
# As many as are told.
MAX_TOLD = 10


class RoleEscalation:
    """An admission plugin: it looks at what is to be stored."""

    name: ClassVar[str] = "RoleEscalation"

    def __init__(self, grants: Grants, authorizer: Authorizer) -> None:
        self._grants, self._authorizer = grants, authorizer

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and resource in (ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS) and not subresource

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden, NotFound."""
        if MASTERS in attributes.user.groups:
            return
        if attributes.resource in (ROLES, CLUSTER_ROLES):
            await self._check_role(attributes)
        else:
            await self._check_binding(attributes)

    async def _check_role(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old
        if old is not None and _gives(new) == _gives(old):
            return
        # Who takes the rule away takes from others, as in Kubernetes.
        gathers = any(isinstance(role, rbac.ClusterRole) and role.HasField("aggregation_rule") for role in (new, old))
        if await self._may(attributes, "escalate", attributes.resource, new.metadata.name):
            return
        if gathers:
            everything = rbac.PolicyRule(verbs=["*"], api_groups=["*"], resources=["*"])
            await self._check_held(attributes, [everything], "must have cluster-admin privileges to use the aggregationRule: ")
        await self._check_held(attributes, new.rules)

    async def _check_binding(self, attributes: Attributes) -> None:
        new, old = attributes.obj, attributes.old
        if old is not None and list(new.subjects) == list(old.subjects):
            return
        role = new.role_ref
        kind = CLUSTER_ROLES if role.kind == "ClusterRole" else ROLES
        if await self._may(attributes, "bind", kind, role.name):
            return
        rules = self._grants.rules_of(role, attributes.namespace)
        if rules is None:
            raise not_found(kind.plural, role.name, kind.storage.group)
        await self._check_held(attributes, [rule.said for rule in rules])

    async def _may(self, attributes: Attributes, verb: str, kind: Resource, name: str) -> bool:
        ref = Ref(imagined(kind.storage.group, kind.plural), attributes.namespace, name)
        try:
            await permit(self._authorizer, Request(attributes.user, verb, ref, None, attributes.request.deadline))
        except Forbidden:
            return False
        return True

    async def _check_held(self, attributes: Attributes, wanted: Sequence[rbac.PolicyRule], words: str = "") -> None:
        held = self._grants.of(attributes.user, attributes.namespace).rules
        lacking = await aside(sum(map(_combinations, wanted)) * len(held), lacking_of, wanted, held)
        if not lacking:
            return
        told = "\n".join(await aside(sum(map(_combinations, lacking)) * len(held), told_of, lacking, held))
        user = attributes.user
        detail = (
            f'{words}user "{user.name}" (groups={quoted(user.groups)}) is attempting to grant RBAC permissions not currently held:\n{told}'
        )
        raise forbidden(attributes.resource.plural, attributes.name, detail, attributes.resource.storage.group)


def _gives(role: rbac.Role | rbac.ClusterRole) -> tuple[Any, ...]:
    """All of a role by which somebody may get something: by its labels others gather it."""
    if isinstance(role, rbac.Role):
        return (list(role.rules),)
    return list(role.rules), role.aggregation_rule if role.HasField("aggregation_rule") else None, dict(role.metadata.labels)


def lacking_of(wanted: Sequence[rbac.PolicyRule], held: Sequence[Rule]) -> list[rbac.PolicyRule]:
    """The first of those rules that others do not allow, taken together; MAX_TOLD at most. What is too much to tell is not allowed."""
    found: list[rbac.PolicyRule] = []
    left = MAX_COMPARISONS
    for said in wanted:
        left -= _combinations(said) * len(held)
        if left < 0 or not is_held(said, held):
            found.append(said)
            if len(found) == MAX_TOLD:
                break
    return found


def told_of(lacking: Sequence[rbac.PolicyRule], held: Sequence[Rule]) -> list[str]:
    """What of those rules others do not allow, in Kubernetes' words, which programs read: the verbs that are lacking for each group and
    resource, a line for each verb where it is about names. Of a rule that is too much to look into, all."""
    lines: list[str] = []
    verbs: dict[tuple[str, str], list[str]] = {}
    left = MAX_COMPARISONS
    for said in lacking:
        left -= _combinations(said) * len(held)
        if left < 0 or _combinations(said) > MAX_COMBINATIONS:
            lines.append(_whole(said))
            continue
        for part in _parts(said):
            if any(rule.covers(part) for rule in held):
                continue
            if part.path:
                lines.append(_line((), (), [part.path], (), [part.verb]))
            elif part.name:
                lines.append(_line([part.group], [part.resource], (), [part.name], [part.verb]))
            elif part.verb not in (known := verbs.setdefault((part.group, part.resource), [])):
                known.append(part.verb)
    lines += (_line([group], [resource], (), (), found) for (group, resource), found in verbs.items())
    return sorted(set(lines or map(_whole, lacking)))[:MAX_TOLD]


def _whole(said: rbac.PolicyRule) -> str:
    return _line(said.api_groups, said.resources, said.non_resource_urls, said.resource_names, said.verbs)


def _line(groups: Sequence[str], resources: Sequence[str], paths: Sequence[str], names: Sequence[str], verbs: Sequence[str]) -> str:
    fields = {"APIGroups": groups, "Resources": resources, "NonResourceURLs": paths, "ResourceNames": names, "Verbs": verbs}
    return f"{{{', '.join(f'{name}:{quoted(values)}' for name, values in fields.items() if values)}}}"


def quoted(values: Sequence[str]) -> str:
    """As Go writes several texts."""
    return f"[{' '.join(orjson.dumps(value).decode() for value in values)}]"


def is_held(said: rbac.PolicyRule, held: Sequence[Rule]) -> bool:
    """Whether all that a rule allows is allowed by others, taken together; one that is too large to tell is not."""
    return _combinations(said) <= MAX_COMBINATIONS and all(any(rule.covers(part) for rule in held) for part in _parts(said))


def _combinations(said: rbac.PolicyRule) -> int:
    """How many single things a rule allows."""
    others = len(said.api_groups) * len(said.resources) * max(len(said.resource_names), 1)
    return len(said.verbs) * (len(said.non_resource_urls) + others)


def _parts(said: rbac.PolicyRule) -> Iterator[Wish]:
    """Each single thing that a rule allows; an empty name is any."""
    for verb, path in itertools.product(said.verbs, said.non_resource_urls):
        yield Wish(verb, path=path)
    for verb, group, resource, name in itertools.product(said.verbs, said.api_groups, said.resources, list(said.resource_names) or [""]):
        yield Wish(verb, group, resource, name=name)

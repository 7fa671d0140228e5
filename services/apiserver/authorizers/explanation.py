"""Why somebody may do something, or what is missing for it: which rule of which role that which binding gives to whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from knarr.api.apiserver.v1 import authorization_service_pb2 as face
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from services.apiserver.authorization import Verdict
from services.apiserver.authorizers.chain import Chain
from services.apiserver.rbac.authorizer import RoleAuthorizer
from services.apiserver.rbac.grants import Grants, Source
from services.apiserver.rbac.rules import Rule, Wish
from services.apiserver.request import Request

MOST_GRANTS, MOST_CANDIDATES = 100, 20


async def explanation(chain: Chain, request: Request, *, tells_roles: bool) -> face.ExplainResponse:
    """``tells_roles``: whether the asker may know which roles there are."""
    decisions = await chain.verdicts(request)
    found = face.ExplainResponse(allowed=bool(decisions) and decisions[-1][1].allowed)
    for name, verdict in decisions:
        found.decisions.add(authorizer=name, decision=_word(verdict), reason=verdict.reason)
    wish = Wish.of(request)
    found.namespace = wish.namespace
    grants = next((mode.grants for mode in chain.modes if isinstance(mode, RoleAuthorizer)), None)
    if grants is not None:
        sources = list(grants.sources(request.user, wish.namespace))
        found.grants.extend(islice(_allowing(sources, wish), MOST_GRANTS))
        found.broken.extend(islice((_grant(source) for source in sources if source.rules is None), MOST_GRANTS))
    if not found.allowed:
        found.needed.CopyFrom(needed(wish))
        if tells_roles and grants is not None:
            found.candidates.extend(islice(_candidates(grants, wish), MOST_CANDIDATES))
    return found


def needed(wish: Wish) -> rbac.PolicyRule:
    """The narrowest rule that would allow it, whatever the object's name."""
    if wish.path:
        return rbac.PolicyRule(verbs=[wish.verb], non_resource_urls=[wish.path])
    return rbac.PolicyRule(verbs=[wish.verb], api_groups=[wish.group], resources=[wish.resource])


def _word(verdict: Verdict) -> str:
    return "allow" if verdict.allowed else "deny" if verdict.denied else "no opinion"


def _allowing(sources: Sequence[Source], wish: Wish) -> Iterator[face.Grant]:
    for source in sources:
        rule = next((rule for rule in source.rules or () if rule.allows(wish)), None)
        if rule is not None:
            yield _grant(source, rule)


def _grant(source: Source, rule: Rule | None = None) -> face.Grant:
    kind, name = source.subject
    return face.Grant(
        binding_kind="RoleBinding" if source.namespace else "ClusterRoleBinding",
        binding_namespace=source.namespace,
        binding_name=source.binding,
        subject_kind=kind,
        subject_name=name,
        role_kind=source.role.kind,
        role_name=source.role.name,
        rule=rule.said if rule is not None else None,
    )


def _candidates(grants: Grants, wish: Wish) -> Iterator[str]:
    # Those that are made to be bound to somebody come first.
    for name in sorted(grants.cluster_roles(), key=lambda name: (name.startswith("system:"), name)):
        rules = grants.rules_of(rbac.RoleRef(kind="ClusterRole", name=name), "")
        if any(rule.allows(wish) for rule in rules or ()):
            yield name

"""Who may do what: service accounts what roles say that are bound to them, everybody else who is known everything.

As in Kubernetes an account may do nothing but what every caller may (look what is served, ask about itself) until a role is bound to it.
Administrators and the cluster's own components are not asked for roles yet.
"""

from __future__ import annotations

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.service.authentication import User
from services.apiserver.authorization import ALLOW_AUTHENTICATED, refusal
from services.apiserver.rbac.grants import Grants
from services.apiserver.rbac.rules import Wish
from services.apiserver.request import Request
from services.apiserver.tokens.claims import ACCOUNTS_GROUP

ADVICE = "no role that is bound to it allows that; see `kubectl create rolebinding --help`"


class RoleAuthorizer:
    """Decides at once, by what the watch cache has."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    def authorize(self, request: Request) -> None:
        user = request.user
        if ACCOUNTS_GROUP not in user.groups:
            ALLOW_AUTHENTICATED.authorize(request)
            return
        wish = Wish.of(request)
        granted = self._grants.of(user, wish.namespace)
        if not any(rule.allows(wish) for rule in granted.rules):
            raise refusal(request, f"RBAC: {', '.join(granted.missing)}" if granted.missing else ADVICE)

    def rules(self, user: User, namespace: str) -> authorization.SubjectRulesReviewStatus:
        if ACCOUNTS_GROUP not in user.groups:
            return ALLOW_AUTHENTICATED.rules(user, namespace)
        found = authorization.SubjectRulesReviewStatus()
        for rule in self._grants.of(user, namespace).rules:
            said = rule.said
            if said.non_resource_urls:
                found.non_resource_rules.add(verbs=said.verbs, non_resource_urls=said.non_resource_urls)
            else:
                found.resource_rules.add(
                    verbs=said.verbs, api_groups=said.api_groups, resources=said.resources, resource_names=said.resource_names
                )
        return found

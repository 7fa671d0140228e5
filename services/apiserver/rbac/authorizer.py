"""Who may do what by roles: what the roles say that are bound to somebody or to a group of his.

As in Kubernetes nobody may do anything but what every caller may (look what is served, ask about itself) until a role is bound to him.
"""

from __future__ import annotations

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.service.authentication import User
from services.apiserver.authorization import ALLOWED, REASON, Verdict
from services.apiserver.rbac.grants import Grants
from services.apiserver.rbac.rules import Wish
from services.apiserver.request import Request

ADVICE = "no role that is bound to it allows that; see `kubectl create rolebinding --help`"
NO_ROLE = Verdict(reason=ADVICE)


class RoleAuthorizer:
    """Decides at once, by what the watch cache has."""

    name = "RBAC"

    def __init__(self, grants: Grants) -> None:
        self.grants = grants

    def decide(self, request: Request) -> Verdict:
        wish = Wish.of(request)
        granted = self.grants.of(request.user, wish.namespace)
        if granted.index.allows(wish):
            if request.audit is not None:
                request.annotate(REASON, self.grants.reason(request.user, wish))
            return ALLOWED
        return Verdict(reason=f"RBAC: {', '.join(granted.missing)}") if granted.missing else NO_ROLE

    def rules(self, user: User, namespace: str) -> authorization.SubjectRulesReviewStatus:
        found = authorization.SubjectRulesReviewStatus()
        for rule in self.grants.of(user, namespace).rules:
            said = rule.said
            if said.non_resource_urls:
                found.non_resource_rules.add(verbs=said.verbs, non_resource_urls=said.non_resource_urls)
            else:
                found.resource_rules.add(
                    verbs=said.verbs, api_groups=said.api_groups, resources=said.resources, resource_names=said.resource_names
                )
        return found

"""Who may do what by roles: what the roles say that are bound to somebody or to a group of his.

As in Kubernetes nobody may do anything but what every caller may (look what is served, ask about itself) until a role is bound to him.
"""

from __future__ import annotations

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.service.authentication import User
from services.apiserver.authorization import ALLOWED, SELECTING, Verdict, may_select_one
from services.apiserver.rbac.grants import REMEMBERED, REMEMBERED_LETTERS, Grants, letters_of
from services.apiserver.rbac.rules import Wish
from services.apiserver.request import Request
from services.apiserver.results import Ref

ADVICE = "no role that is bound to it allows that; see `kubectl create rolebinding --help`"
NO_ROLE = Verdict(reason=ADVICE)


# Who asks, by which path, and why he may; None where nobody has asked why.
_Known = tuple[User, Ref, str | None]


class RoleAuthorizer:
    """Decides at once, by what the watch cache has.

    Most requests come again. Those of REST are known by the very objects that their face has kept of who asks and of the path, which
    takes less than to work out what is wished.
    """

    name = "RBAC"

    def __init__(self, grants: Grants) -> None:
        self.grants = grants
        # What is allowed, until a role or a binding changes.
        self._known: dict[tuple[int, int, str], _Known] = {}
        grants.subscribe(self._known.clear)

    def decide(self, request: Request) -> Verdict:
        return ALLOWED if self.recalls(request) else self._judged(request)

    def recalls(self, request: Request) -> bool:
        """Whether the same was let through before, and is still; False also of what nobody remembers."""
        # The same object, and nothing else: its like may be of another caller, or path, that had its place before.
        user, ref, verb, audit = request.user, request.ref, request.verb, request.audit
        known = self._known.get((id(user), id(ref), verb))
        if known is None or known[0] is not user or known[1] is not ref or (verb in SELECTING and may_select_one(request)):
            return False
        if audit is not None:
            reason = known[2]
            if reason is None:
                return False
            audit.reason = audit.reason or reason
        return True

    def _judged(self, request: Request) -> Verdict:
        wish = Wish.of(request)
        granted = self.grants.of(request.user, wish.namespace)
        if not granted.index.allows(wish):
            return Verdict(reason=f"RBAC: {', '.join(granted.missing)}") if granted.missing else NO_ROLE
        reason = None
        if request.audit is not None:
            reason = self.grants.reason(request.user, wish)
            request.audit.reason = request.audit.reason or reason
        if _may_come_again(request, wish):
            self._remember(request, reason)
        return ALLOWED

    def _remember(self, request: Request, reason: str | None) -> None:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[id(request.user), id(request.ref), request.verb] = request.user, request.ref, reason

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


def _may_come_again(request: Request, wish: Wish) -> bool:
    """Whether what a request wishes follows from its reference and verb, and both it and its caller are kept: by the face of REST, where
    clients have a word for themselves, or by a client in this process, and of who plays nobody."""
    if (request.agent is None and not request.is_kept) or wish.path or request.user.impersonator is not None or may_select_one(request):
        return False
    return letters_of(request.user) + sum(map(len, wish)) <= REMEMBERED_LETTERS

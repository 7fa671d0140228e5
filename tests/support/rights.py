"""What components may do in tests: what a new cluster's roles say, without a cluster that has them.

A component under test is given a client of its own name, so that its tests fail where it asks for more than its role allows.
"""

from __future__ import annotations

from collections import defaultdict

from knarr.service.authentication import AUTHENTICATED, NODE_PREFIX, NODES, User
from services.apiserver.authorization import ALLOWED, NO_OPINION, Verdict
from services.apiserver.rbac.defaults import bindings, roles
from services.apiserver.rbac.index import Index
from services.apiserver.rbac.rules import Rule, Wish
from services.apiserver.request import Request


def component(name: str) -> User:
    return User(name, groups=(AUTHENTICATED,))


SCHEDULER = component("system:kube-scheduler")
CONTROLLER = component("system:kube-controller-manager")
CLOUD = component("system:cloud-controller-manager")
DNS = component("system:kube-dns")
PROXY = component("system:kube-proxy")
GATEWAY = component("system:knarr-gateway")
WEB = component("system:knarr-web")


def kubelet(node: str) -> User:
    return User(f"{NODE_PREFIX}{node}", groups=(NODES, AUTHENTICATED))


class FixedRoles:
    """Decides by the roles and bindings of a new cluster."""

    name = "RBAC"

    def __init__(self) -> None:
        rules: dict[tuple[str, str], list[Rule]] = {}
        for role in roles():
            rules[role.metadata.namespace, role.metadata.name] = [Rule(said) for said in role.rules]
        found: dict[tuple[str, str, str], list[Rule]] = defaultdict(list)
        for binding in bindings():
            place = binding.metadata.namespace
            granted = rules["" if binding.role_ref.kind == "ClusterRole" else place, binding.role_ref.name]
            for subject in binding.subjects:
                found[subject.kind, subject.name, place] += granted
        self._found = {subject: Index(granted) for subject, granted in found.items()}

    def decide(self, request: Request) -> Verdict:
        wish, user = Wish.of(request), request.user
        subjects = [("User", user.name), *(("Group", group) for group in user.groups)]
        for kind, name in subjects:
            for place in {"", wish.namespace}:
                index = self._found.get((kind, name, place))
                if index is not None and index.allows(wish):
                    return ALLOWED
        return NO_OPINION


ROLES = FixedRoles()

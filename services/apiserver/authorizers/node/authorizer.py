"""What a node's kubelet may do, as Kubernetes' Node authorizer says it: what the role `system:node` has."""

from __future__ import annotations

from knarr.service.authentication import node_of
from services.apiserver.authorization import ALLOWED, NO_OPINION, Verdict
from services.apiserver.rbac.defaults import roles
from services.apiserver.rbac.index import Index
from services.apiserver.rbac.rules import Rule, Wish
from services.apiserver.request import Request

ROLE = "system:node"


class NodeAuthorizer:
    """Decides at once, for kubelets alone; the role is the one that is written down here, whatever became of the one in the cluster."""

    name = "Node"

    def __init__(self) -> None:
        self._rules = Index([Rule(said) for role in roles() if role.metadata.name == ROLE for said in role.rules])

    def decide(self, request: Request) -> Verdict:
        if not node_of(request.user):
            return NO_OPINION
        return ALLOWED if self._rules.allows(Wish.of(request)) else NO_OPINION

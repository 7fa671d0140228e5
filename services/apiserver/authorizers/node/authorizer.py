"""What a node's kubelet may do, as Kubernetes' Node authorizer says it: what the role `system:node` has, of which it may read only what its
own pods name, and touch only what is its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from knarr.machinery.selectors import EQUALS, IN, parse_field_selector, parse_label_selector
from knarr.objects.local_path import NODE_LABEL
from knarr.service.authentication import User, node_of
from services.apiserver.authorization import ALLOWED, NO_OPINION, Verdict
from services.apiserver.authorizers.node.driver_secrets import secrets_of_volumes
from services.apiserver.authorizers.node.pods import NODE_NAME, PodsByNode
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.rbac.defaults import roles
from services.apiserver.rbac.index import Index
from services.apiserver.rbac.rules import Rule, Wish
from services.apiserver.request import CREATE, DELETE, GET, LIST, PATCH, UPDATE, WATCH, Request

ROLE = "system:node"
LEASES = "kube-node-lease"
READ, CHANGE = frozenset((GET, LIST, WATCH)), frozenset((GET, CREATE, UPDATE, PATCH, DELETE))
VOLUMES, ATTACHMENTS, POD_CERTIFICATES, SLICES = (
    version_of(kind).resource
    for kind in (core.PersistentVolume, storage.VolumeAttachment, certificates.PodCertificateRequest, resource.ResourceSlice)
)


@cache
def _written_down() -> Index:
    """The role's rules, read once: they are asked, and never changed."""
    return Index([Rule(said) for role in roles() if role.metadata.name == ROLE for said in role.rules])


class NodeAuthorizer:
    """Decides at once, for kubelets alone; the role is the one that is written down here, whatever became of the one in the cluster."""

    name = "Node"

    def __init__(self, cache: WatchCache, pods: PodsByNode) -> None:
        self._cache, self._pods = cache, pods
        self._rules = _written_down()
        # What belongs to somebody, by group and plural; everything else is the same for all nodes.
        self._of: Mapping[tuple[str, str], Callable[[str, Wish, Request], str]] = {
            ("", "secrets"): self._secret,
            ("", "configmaps"): self._read_named,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._volume,
            ("", "serviceaccounts"): self._account,
            ("", "pods"): self._pod,
            ("", "nodes"): self._node,
            ("certificates.k8s.io", "podcertificaterequests"): self._pod_certificate,
            ("resource.k8s.io", "resourceclaims"): self._get_named,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("storage.k8s.io", "volumeattachments"): self._attachment,
            ("storage.k8s.io", "csinodes"): self._own,
            ("coordination.k8s.io", "leases"): self._lease,
        }

    def decide(self, request: Request) -> Verdict:
        node = node_of(request.user)
        if node is None:
            return NO_OPINION
        if not node:
            return Verdict(reason=f'unknown node for user "{request.user.name}"')
        wish = Wish.of(request)
        judge = None if wish.path else self._of.get((wish.group, request.ref.resource.plural))
        if judge is None:
            return ALLOWED if self._rules.allows(wish) else NO_OPINION
        refused = judge(node, wish, request)
        return Verdict(reason=refused) if refused else ALLOWED

    def rules(self, user: User, namespace: str) -> authorization.SubjectRulesReviewStatus:
        """Says of a node that it is not all."""
        if node_of(user) is None:
            return authorization.SubjectRulesReviewStatus()
        return authorization.SubjectRulesReviewStatus(
            incomplete=True, evaluation_error="node authorizer does not support user rule resolution"
        )

    def _named_by_a_pod(self, node: str, wish: Wish) -> str:
        plural = wish.resource.partition("/")[0]
        if wish.name and wish.namespace and self._pods.name(node, wish.namespace, (plural, wish.name)):
            return ""
        return f"no relationship found between node '{node}' and this object"

    def _read_named(self, node: str, wish: Wish, request: Request) -> str:
        if wish.verb not in READ or wish.subresource:
            return "can only read resources of this type"
        return self._named_by_a_pod(node, wish)

    def _secret(self, node: str, wish: Wish, request: Request) -> str:
        """One that a pod names, or the volume of one of its claims, for the volume's driver."""
        refused = self._read_named(node, wish, request)
        if not refused or wish.verb != GET or wish.subresource or not wish.name:
            return refused
        return "" if (wish.namespace, wish.name) in secrets_of_volumes(self._cache, self._pods.pods(node)) else refused

    def _get_named(self, node: str, wish: Wish, request: Request) -> str:
        if wish.verb != GET or wish.subresource:
            return "can only get individual resources of this type"
        return self._named_by_a_pod(node, wish)

    def _claim(self, node: str, wish: Wish, request: Request) -> str:
        if wish.subresource == "status" and wish.verb in (UPDATE, PATCH):
            return self._named_by_a_pod(node, wish)
        return self._get_named(node, wish, request)

    def _volume(self, node: str, wish: Wish, request: Request) -> str:
        """One that is bound to a claim of a pod, and those that are folders of the node: of these it lets go, once they are deleted."""
        if wish.verb in (LIST, WATCH) and not wish.subresource:
            words = f"can only list/watch persistentvolumes with the label selector {NODE_LABEL}={node}"
            return "" if _labelled(request) == node else words
        if wish.verb not in (GET, UPDATE) or wish.subresource:
            return "can only get individual resources of this type"
        entry = self._cache.get(VOLUMES, "", wish.name)
        if entry is not None and entry.seen.metadata.labels.get(NODE_LABEL) == node:
            return ""
        if wish.verb == UPDATE:
            return f"is no folder of node '{node}'"
        claim = entry.seen.spec.claim_ref if entry is not None else core.ObjectReference()
        if claim.name and self._pods.name(node, claim.namespace, ("persistentvolumeclaims", claim.name)):
            return ""
        return f"no relationship found between node '{node}' and this object"

    def _attachment(self, node: str, wish: Wish, request: Request) -> str:
        if wish.verb != GET or wish.subresource:
            return "can only get individual resources of this type"
        entry = self._cache.get(ATTACHMENTS, "", wish.name)
        if entry is not None and entry.seen.spec.node_name == node:
            return ""
        return f"no relationship found between node '{node}' and this object"

    def _account(self, node: str, wish: Wish, request: Request) -> str:
        """Who asks for a pod's certificate says of which account it is, by its uid."""
        if wish.verb == GET and not wish.subresource:
            return self._named_by_a_pod(node, wish)
        if wish.verb != CREATE or wish.subresource != "token":
            return "can only create tokens for individual service accounts"
        return self._named_by_a_pod(node, wish)

    def _pod(self, node: str, wish: Wish, request: Request) -> str:
        """What it may write of which pod is admission's: the pod is not known here yet."""
        if wish.verb in (LIST, WATCH) and not wish.subresource:
            if _selected(request) == node or (wish.name and self._pods.has(node, wish.namespace, wish.name)):
                return ""
            return "can only list/watch pods with spec.nodeName field selector"
        if wish.verb == GET and wish.subresource in ("", "status"):
            return "" if self._pods.has(node, wish.namespace, wish.name) else f"no relationship found between node '{node}' and this object"
        return "" if self._rules.allows(wish) else "nodes may do nothing else to pods"

    def _pod_certificate(self, node: str, wish: Wish, request: Request) -> str:
        """What it asks for is admission's to judge."""
        if wish.subresource:
            return "nodes may not access the status subresource of PodCertificateRequests"
        if wish.verb == CREATE:
            return ""
        if wish.verb == GET:
            entry = self._cache.get(POD_CERTIFICATES, wish.namespace, wish.name)
            own = entry is not None and entry.seen.spec.node_name == node
            return "" if own else f"no relationship found between node '{node}' and this object"
        if wish.verb in (LIST, WATCH):
            return "" if _selected(request) == node else "can only list/watch podcertificaterequests with nodeName field selector"
        return f"nodes may not {wish.verb} podcertificaterequests"

    def _slice(self, node: str, wish: Wish, request: Request) -> str:
        """What drivers tell of its devices: it takes back what those told that are away."""
        if wish.verb == LIST and not wish.subresource:
            return "" if _selected(request) == node else "can only list resourceslices with nodeName field selector"
        if wish.verb != DELETE or wish.subresource:
            return "can only list resourceslices and delete individual ones"
        entry = self._cache.get(SLICES, "", wish.name)
        own = entry is not None and entry.seen.spec.node_name == node
        return "" if own else f"no relationship found between node '{node}' and this object"

    def _node(self, node: str, wish: Wish, request: Request) -> str:
        """Which one it writes is admission's to say; its own it may ask for before it is there."""
        if wish.verb in READ and not wish.subresource:
            if wish.name == node:
                return ""
            what = f"'{wish.name}'" if wish.name else "all nodes"
            return f"node '{node}' cannot read {what}, only its own Node object"
        return "" if self._rules.allows(wish) else "nodes may do nothing else to nodes"

    def _lease(self, node: str, wish: Wish, request: Request) -> str:
        if wish.verb not in CHANGE or wish.subresource:
            return "can only get, create, update, patch, or delete a node lease"
        if wish.namespace != LEASES:
            return f'can only access leases in the "{LEASES}" system namespace'
        return self._own(node, wish, request)

    def _own(self, node: str, wish: Wish, request: Request) -> str:
        """What a create names is not known here yet; admission looks at it."""
        if wish.verb not in CHANGE or wish.subresource:
            return "can only get, create, update, patch, or delete it"
        return "" if wish.verb == CREATE or wish.name == node else "can only access the object with the same name as the requesting node"


def _labelled(request: Request) -> str:
    """The node of whose folders a list or a watch is."""
    options = request.options
    if not isinstance(options, meta.ListOptions) or NODE_LABEL not in options.label_selector:
        return ""
    try:
        asked = parse_label_selector(options.label_selector).requirements
    except StatusError:
        return ""
    values = [rule.values for rule in asked if rule.key == NODE_LABEL and rule.operator in (EQUALS, IN)]
    return next((next(iter(found)) for found in values if len(found) == 1), "")


def _selected(request: Request) -> str:
    """The node of whose pods, requests for them, or devices a list or a watch is."""
    options = request.options
    if not isinstance(options, meta.ListOptions) or NODE_NAME not in options.field_selector:
        return ""
    try:
        return parse_field_selector(options.field_selector).exact(NODE_NAME) or ""
    except StatusError:
        return ""

"""A node writes only what is its own: its Node, its Lease, its CSINode, the status of its pods; tokens only for its pods and for whom these
show them to; requests for certificates only in its own name or for its pods; volumes that are its
folders it lets go.

As Kubernetes' NodeRestriction. What a node may read is the Node authorizer's to say, which does not see what is written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from cryptography import x509

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.copies import copy_of
from knarr.objects.local_path import FINALIZER, NODE_LABEL, is_to_be_removed, without_finalizer
from knarr.objects.pods import MIRROR
from knarr.objects.references import config_map_names, pod_certificates, secret_names, trust_bundles
from knarr.service.authentication import NODE_PREFIX, node_of
from services.apiserver.admission.attributes import CREATE, DELETE, UPDATE, Attributes
from services.apiserver.admission.node_restriction.audiences import names_audience
from services.apiserver.admission.node_restriction.labels import forbidden_labels
from services.apiserver.admission.node_restriction.pod_certificates import why_not
from services.apiserver.admission.permission import may
from services.apiserver.admission.refusals import refused
from services.apiserver.authorization import Authorizer, imagined
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

PODS, NODES, CLAIMS, VOLUMES, ACCOUNTS, LEASES, CSI_NODES, SIGNING_REQUESTS, POD_CERTIFICATES = (
    version_of(kind).resource
    for kind in (
        core.Pod,
        core.Node,
        core.PersistentVolumeClaim,
        core.PersistentVolume,
        core.ServiceAccount,
        coordination.Lease,
        storage.CSINode,
        certificates.CertificateSigningRequest,
        certificates.PodCertificateRequest,
    )
)
LEASE_NAMESPACE = "kube-node-lease"
# Of kubelets' own certificates: another name in them would be another node's.
OWN_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
ASKS_FOR_AUDIENCE = "request-serviceaccounts-token-audience"


class NodeRestriction:
    name: ClassVar[str] = "NodeRestriction"

    def __init__(self, backend: Backend, *, authorizer: Authorizer | None = None) -> None:
        """``authorizer`` is asked for whom nodes may have tokens besides whom their pods name; without one for nobody."""
        self._backend, self._authorizer = backend, authorizer
        self._of: Mapping[Resource, Callable[[str, Attributes], str | Awaitable[str]]] = {
            PODS: self._pod,
            NODES: self._node,
            CLAIMS: _claim,
            VOLUMES: _volume,
            ACCOUNTS: self._token,
            LEASES: _lease,
            CSI_NODES: _own,
            SIGNING_REQUESTS: _signing_request,
            POD_CERTIFICATES: self._pod_certificate,
        }

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE, DELETE) and resource in self._of

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        node = node_of(attributes.user)
        if node is None:
            return
        said = self._of[attributes.resource](node, attributes) if node else f'could not determine node from user "{attributes.user.name}"'
        if words := said if isinstance(said, str) else await said:
            raise refused(attributes, words)

    def _pod(self, node: str, attributes: Attributes) -> str:
        match attributes.subresource, attributes.operation:
            case "", "CREATE":
                return self._mirror_pod(node, attributes.obj)
            case "", "DELETE":
                words = f'node "{node}" can only delete pods with spec.nodeName set to itself'
                return "" if attributes.old.spec.node_name == node else words
            case "", operation:
                return f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods'
            case "status", "UPDATE":
                return _pod_status(node, attributes.old, attributes.obj)
            case "eviction", "CREATE":
                entry = self._backend.cache.get(PODS, attributes.namespace, attributes.name)
                words = f"node {node} can only evict pods with spec.nodeName set to itself"
                return "" if entry is not None and entry.shared_message.spec.node_name == node else words
            case part, _:
                return f"unexpected pod subresource \"{part}\", only 'status' and 'eviction' are allowed"

    def _mirror_pod(self, node: str, pod: core.Pod) -> str:
        if MIRROR not in pod.metadata.annotations:
            return f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
        if pod.spec.node_name != node:
            return f'node "{node}" can only create pods with spec.nodeName set to itself'
        if words := self._owner(node, list(pod.metadata.owner_references)):
            return words
        named = {
            "a service account": bool(pod.spec.service_account_name),
            "secrets": bool(secret_names(pod)),
            "configmaps": bool(config_map_names(pod)),
            "clustertrustbundles": any(trust_bundles(pod)),
            "podcertificates": any(pod_certificates(pod)),
            "persistentvolumeclaims": any(volume.volume_source.HasField("persistent_volume_claim") for volume in pod.spec.volumes),
            "resourceclaims": bool(pod.spec.resource_claims),
        }
        return next((f'node "{node}" can not create pods that reference {what}' for what, is_named in named.items() if is_named), "")

    def _owner(self, node: str, owners: list[Any]) -> str:
        entry = self._backend.cache.get(NODES, "", node)
        if len(owners) > 1:
            return f'node "{node}" can only create pods with a single owner reference set to itself'
        if not owners or (owners[0].api_version, owners[0].kind, owners[0].name) != ("v1", "Node", node):
            return f'node "{node}" can only create pods with an owner reference set to itself'
        if not owners[0].controller:
            return f'node "{node}" can only create pods with a controller owner reference set to itself'
        if owners[0].block_owner_deletion:
            return f'node "{node}" must not set blockOwnerDeletion on an owner reference'
        if entry is None or entry.shared_message.metadata.uid != owners[0].uid:
            return f"node {node} UID mismatch"
        return ""

    def _node(self, node: str, attributes: Attributes) -> str:
        if attributes.name != node:
            return f'node "{node}" is not allowed to modify node "{attributes.name}"'
        if attributes.operation == DELETE:
            return f'node "{node}" is not allowed to delete itself'
        if attributes.operation == CREATE:
            labels = forbidden_labels(attributes.obj.metadata.labels, {})
            return f'node "{node}" is not allowed to set the following labels: {", ".join(labels)}' if labels else ""
        old, new = attributes.old, attributes.obj
        if list(old.spec.taints) != list(new.spec.taints):
            return f'node "{node}" is not allowed to modify taints'
        if list(old.metadata.owner_references) != list(new.metadata.owner_references):
            return f'node "{node}" is not allowed to modify ownerReferences'
        labels = forbidden_labels(new.metadata.labels, old.metadata.labels)
        return f"is not allowed to modify labels: {', '.join(labels)}" if labels else ""

    def _pod_certificate(self, node: str, attributes: Attributes) -> Awaitable[str]:
        return why_not(self._backend.cache, self._authorizer, node, attributes)

    async def _token(self, node: str, attributes: Attributes) -> str:
        if (attributes.operation, attributes.subresource) != (CREATE, "token"):
            return ""
        bound = attributes.obj.spec.bound_object_ref
        if (bound.api_version, bound.kind) != ("v1", "Pod") or not bound.name:
            return "node requested token not bound to a pod"
        if not bound.uid:
            return "node requested token with a pod binding without a uid"
        entry = self._backend.cache.get(PODS, attributes.namespace, bound.name)
        pod = entry.shared_message if entry is not None else core.Pod()
        if pod.metadata.uid != bound.uid:
            return f"the UID in the bound object reference ({bound.uid}) does not match the UID in record ({pod.metadata.uid})"
        if pod.spec.node_name != node:
            return "node requested token bound to a pod scheduled on a different node"
        return await self._audience(attributes, pod)

    async def _audience(self, attributes: Attributes, pod: core.Pod) -> str:
        """Whoever takes a node over is not to have tokens for whom its pods never call."""
        audiences = list(attributes.obj.spec.audiences)
        if len(audiences) > 1:
            return "node may only request 0 or 1 audiences"
        audience = audiences[0] if audiences else ""
        if names_audience(self._backend.cache, pod, audience):
            return ""
        wanted = Ref(imagined("", audience), attributes.namespace, attributes.name)
        if audience and self._authorizer is not None and await may(self._authorizer, attributes, ASKS_FOR_AUDIENCE, wanted):
            return ""
        who = f"{attributes.user.name} is not authorized to request tokens for this audience"
        return f'audience "{audience}" not found in pod spec volume, {who}'


def _pod_status(node: str, old: core.Pod, new: core.Pod) -> str:
    if old.spec.node_name != node:
        return f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
    if dict(old.metadata.labels) != dict(new.metadata.labels):
        return f'node "{node}" cannot update labels through pod status'
    if list(old.status.resource_claim_statuses) != list(new.status.resource_claim_statuses):
        return f'node "{node}" cannot update resource claim statues'
    if old.status.extended_resource_claim_status != new.status.extended_resource_claim_status:
        return f'node "{node}" cannot update extended resource claim status'
    return ""


def _claim(node: str, attributes: Attributes) -> str:
    if attributes.subresource != "status" or attributes.operation != UPDATE:
        return "may only update PVC status"
    left = [copy_of(claim) for claim in (attributes.old, attributes.obj)]
    for claim in left:
        claim.metadata.ClearField("resource_version")
        claim.metadata.ClearField("managed_fields")
        for field in ("capacity", "conditions", "allocated_resources", "allocated_resource_statuses"):
            claim.status.ClearField(field)
    return "" if left[0] == left[1] else f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions'


def _signing_request(node: str, attributes: Attributes) -> str:
    if attributes.operation != CREATE or attributes.obj.spec.signer_name not in OWN_SIGNERS:
        return ""
    try:
        names = x509.load_pem_x509_csr(attributes.obj.spec.request).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except ValueError as error:
        return f"unable to parse csr: {error}"
    own = f"{NODE_PREFIX}{node}"
    return "" if [name.value for name in names] == [own] else f"can only create a node CSR with CN={own}"


def _volume(node: str, attributes: Attributes) -> str:
    """Lets go of one that is a folder of its own."""
    words = f'node "{node}" may only take the finalizer {FINALIZER} from deleted volumes that are folders of its own'
    if (attributes.operation, attributes.subresource) != (UPDATE, "") or not is_to_be_removed(attributes.old):
        return words
    left = [without_finalizer(attributes.old), copy_of(attributes.obj)]
    for volume in left:
        volume.metadata.ClearField("resource_version")
        volume.metadata.ClearField("managed_fields")
    return "" if left[0] == left[1] and attributes.old.metadata.labels.get(NODE_LABEL) == node else words


def _lease(node: str, attributes: Attributes) -> str:
    if attributes.namespace != LEASE_NAMESPACE:
        return f'can only access leases in the "{LEASE_NAMESPACE}" system namespace'
    return _own(node, attributes)


def _own(node: str, attributes: Attributes) -> str:
    name = attributes.name or attributes.obj.metadata.name
    kind = attributes.resource.singular or attributes.resource.plural
    return "" if name == node else f"can only access {kind} with the same name as the requesting node"

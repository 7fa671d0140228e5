"""CSRApproving: which requests of nodes are approved without a person, and by what right. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.service.authentication import NODE_PREFIX, NODES

KUBELET_CLIENT, KUBELET_SERVING = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"
SIGNATURE, ENCIPHERMENT, CLIENT_AUTH, SERVER_AUTH = "digital signature", "key encipherment", "client auth", "server auth"
DECIDED = frozenset(("Approved", "Denied"))


@dataclass(frozen=True, slots=True)
class Right:
    """A sub-resource of certificatesigningrequests whose creation the requester must be permitted, and what is said of the approval."""

    subresource: str
    message: str


SELF = Right("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
OTHER = Right("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")
SERVING = "Auto approving kubelet serving certificate for addresses that the node has."


def is_open(request: certificates.CertificateSigningRequest) -> bool:
    """Whether nobody has decided about it, and this controller may."""
    kinds = {condition.type for condition in request.status.conditions}
    return not kinds & DECIDED and not request.status.certificate and request.spec.signer_name in (KUBELET_CLIENT, KUBELET_SERVING)


def rights(request: certificates.CertificateSigningRequest) -> list[Right]:
    """Any of these lets a node's client certificate be approved; none where it is no such request. Raises ValueError."""
    spec = request.spec
    asked = x509.load_pem_x509_csr(spec.request)
    name = node_user(asked)
    if spec.signer_name != KUBELET_CLIENT or not name or names_of(asked):
        return []
    usages = set(spec.usages)
    if not {SIGNATURE, CLIENT_AUTH} <= usages <= {SIGNATURE, CLIENT_AUTH, ENCIPHERMENT}:
        return []
    return [SELF, OTHER] if spec.username == name else [OTHER]


def serves_itself(request: certificates.CertificateSigningRequest, node: core.Node | None) -> bool:
    """Whether a node asks for a serving certificate for itself, of its name and of addresses that its Node has. Raises ValueError."""
    spec = request.spec
    asked = x509.load_pem_x509_csr(spec.request)
    name = node_user(asked)
    if spec.signer_name != KUBELET_SERVING or not name or spec.username != name or NODES not in spec.groups or node is None:
        return False
    usages = set(spec.usages)
    if not {SIGNATURE, SERVER_AUTH} <= usages <= {SIGNATURE, SERVER_AUTH, ENCIPHERMENT}:
        return False
    known = {node.metadata.name, *(_address(found.address) for found in node.status.addresses)}
    wanted = names_of(asked)
    return bool(wanted) and all(found in known for found in wanted)


def node_user(asked: x509.CertificateSigningRequest) -> str:
    """The user of the node that the subject names; empty where it names something else."""
    groups = [str(found.value) for found in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    names = [str(found.value) for found in asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names[0] if groups == [NODES] and len(names) == 1 and names[0].startswith(NODE_PREFIX) and names[0] != NODE_PREFIX else ""


def names_of(asked: x509.CertificateSigningRequest) -> list[str]:
    """All subject alternative names, addresses as they are usually written; of other kinds than names and addresses something that no
    node is called."""
    try:
        found = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) if isinstance(name, x509.DNSName | x509.IPAddress) else "?" for name in found]


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text

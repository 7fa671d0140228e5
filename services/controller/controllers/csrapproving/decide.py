"""CSRApproving: which requests of nodes are approved without a person, and by what right. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from knarr.api.certificates.v1 import certificates_pb2 as certificates
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
SERVING = "Auto approving kubelet serving certificate for the name of the node."
# What no node is called.
STRANGE = "?"
# With these the names of API servers begin, and this is a part of those of Services: no node is to be taken for one of them.
RESERVED, OF_SERVICES = ("kubernetes", "localhost"), "svc"


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


def serves_itself(request: certificates.CertificateSigningRequest, api_hosts: Collection[str] = ()) -> bool:
    """Whether a node asks for a serving certificate of its own name and of nothing else; that must be no name of an API server, which
    ``api_hosts`` are besides. Raises ValueError.

    Of its addresses a node says what it likes, and the same authority has signed what API servers show: those are for a person to approve.
    """
    spec = request.spec
    asked = x509.load_pem_x509_csr(spec.request)
    name = node_user(asked)
    if spec.signer_name != KUBELET_SERVING or not name or spec.username != name or NODES not in spec.groups:
        return False
    usages = set(spec.usages)
    if not {SIGNATURE, SERVER_AUTH} <= usages <= {SIGNATURE, SERVER_AUTH, ENCIPHERMENT}:
        return False
    node = name.removeprefix(NODE_PREFIX)
    return names_of(asked) == [node] and node not in api_hosts and not _is_reserved(node)


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
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return [STRANGE]
    return [str(name.value) if isinstance(name, x509.DNSName | x509.IPAddress) else STRANGE for name in found]


def _is_reserved(node: str) -> bool:
    """Whether something else than a node may be looked for by that name; an address is no name at all."""
    labels = node.lower().split(".")
    try:
        ipaddress.ip_address(node)
    except ValueError:
        return labels[0] in RESERVED or OF_SERVICES in labels[1:]
    return True

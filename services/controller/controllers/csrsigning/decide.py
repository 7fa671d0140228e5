"""CSRSigning: whether a request is one that its signer signs, and the certificate that it gets. Pure.

The signers are Kubernetes' own four; https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
says what each takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.service.authentication import NODE_PREFIX, NODES
from knarr.service.certificates import CertificateAuthority

CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY = SIGNERS = tuple(
    f"kubernetes.io/{name}" for name in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
)
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
SIGNATURE, ENCIPHERMENT, CLIENT_AUTH, SERVER_AUTH = "digital signature", "key encipherment", "client auth", "server auth"
# The clock of whoever looks at it may be behind; and what a request can ask for at least.
BACKDATED, SHORTEST = timedelta(minutes=5), timedelta(minutes=10)


class Refused(Exception):
    """Why the signer does not sign a request, in words for who asked."""


def is_due(request: certificates.CertificateSigningRequest) -> bool:
    """Whether it waits for its certificate by one of our signers."""
    status = request.status
    if request.spec.signer_name not in SIGNERS or status.certificate:
        return False
    kinds = {condition.type for condition in status.conditions if condition.status == "True"}
    return APPROVED in kinds and DENIED not in kinds and FAILED not in kinds


def check(request: certificates.CertificateSigningRequest, asked: x509.CertificateSigningRequest) -> None:
    """Raises Refused where the signer does not give such certificates."""
    CHECKS[request.spec.signer_name](asked, frozenset(request.spec.usages))


def signed(
    request: certificates.CertificateSigningRequest,
    asked: x509.CertificateSigningRequest,
    authority: CertificateAuthority,
    longest: timedelta,
    now: datetime,
) -> bytes:
    """The certificate, PEM: good for what was asked, ``longest`` at most, and never longer than the authority's own. Raises Refused where
    that is over."""
    asked_for = timedelta(seconds=request.spec.expiration_seconds) if request.spec.HasField("expiration_seconds") else longest
    begins, ends = now - BACKDATED, min(now + min(max(asked_for, SHORTEST), longest), authority.ends)
    if ends <= now:
        raise Refused("the signer has expired: its authority's certificate is good no more")
    return authority.sign(asked.subject, asked.public_key(), usages=request.spec.usages, names=_names(asked), begins=begins, ends=ends)


def _names(asked: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    """Raises Refused for what cannot be read."""
    try:
        return asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Refused(f"its subjectAltName cannot be read: {error}") from None


def _texts(asked: x509.CertificateSigningRequest, kind: x509.ObjectIdentifier) -> list[str]:
    return [str(found.value) for found in asked.subject.get_attributes_for_oid(kind)]


def _check_client(asked: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    _check_usages(usages, needed=(CLIENT_AUTH,), allowed=(CLIENT_AUTH, SIGNATURE, ENCIPHERMENT))


def _check_kubelet_client(asked: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    _check_node(asked)
    names = _names(asked)
    for kind, words in ((x509.DNSName, "DNS"), (x509.RFC822Name, "Email"), (x509.IPAddress, "IP"), (x509.UniformResourceIdentifier, "URI")):
        if names is not None and names.get_values_for_type(kind):
            raise Refused(f"{words} subjectAltNames are not allowed")
    _check_usages(usages, needed=(SIGNATURE, CLIENT_AUTH), allowed=(SIGNATURE, CLIENT_AUTH, ENCIPHERMENT))


def _check_kubelet_serving(asked: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    _check_node(asked)
    names = _names(asked)
    if names is None or not (names.get_values_for_type(x509.DNSName) or names.get_values_for_type(x509.IPAddress)):
        raise Refused("DNS or IP subjectAltName is required")
    for kind, words in ((x509.RFC822Name, "Email"), (x509.UniformResourceIdentifier, "URI")):
        if names.get_values_for_type(kind):
            raise Refused(f"{words} subjectAltNames are not allowed")
    _check_usages(usages, needed=(SIGNATURE, SERVER_AUTH), allowed=(SIGNATURE, SERVER_AUTH, ENCIPHERMENT))


def _check_anything(asked: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    """What was approved is signed."""


def _check_node(asked: x509.CertificateSigningRequest) -> None:
    if _texts(asked, NameOID.ORGANIZATION_NAME) != [NODES]:
        raise Refused(f"subject organization is not {NODES}")
    names = _texts(asked, NameOID.COMMON_NAME)
    if len(names) != 1 or not names[0].startswith(NODE_PREFIX) or names[0] == NODE_PREFIX:
        raise Refused(f"subject common name does not begin with {NODE_PREFIX}")


def _check_usages(usages: frozenset[str], needed: Iterable[str], allowed: Iterable[str]) -> None:
    if not usages.issuperset(needed) or not usages.issubset(allowed):
        there_may_be, there_must_be = (", ".join(sorted(found)) for found in (allowed, needed))
        raise Refused(f"usages did not match: there may be {there_may_be}, and there must be {there_must_be}")


Check = Callable[[x509.CertificateSigningRequest, frozenset[str]], None]
CHECKS: Mapping[str, Check] = {
    CLIENT: _check_client,
    KUBELET_CLIENT: _check_kubelet_client,
    KUBELET_SERVING: _check_kubelet_serving,
    LEGACY: _check_anything,
}

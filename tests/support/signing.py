"""Requests for certificates, as PEM, and keys that sign tokens."""

from __future__ import annotations

import atexit
import ipaddress
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.service.certificates import CertificateAuthority
from services.apiserver.tokens.keys import SigningKeys
from services.controller.settings import Signing
from services.kubelet.pod.certificate_keys import key_and_request

CLIENT_SIGNER, SERVING_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"


def signing_request(
    common_name: str,
    organizations: Iterable[str] = (),
    names: Iterable[x509.GeneralName] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """A PKCS#10 request, signed by a key of its own unless one is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names := list(names):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@cache
def node_request(subject: str, addresses: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> bytes:
    """That of a node, the same for all who ask for it."""
    served = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
    return signing_request(subject, ["system:nodes"], served)


def certificate_request(
    name: str,
    signer: str,
    user: str,
    *,
    subject: str = "",
    addresses: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    usages: Sequence[str] = (),
    seconds: int = 0,
) -> certificates.CertificateSigningRequest:
    """What a node asks for, ``subject`` being itself unless told; usages are those of the signer."""
    found = certificates.CertificateSigningRequest(metadata=meta.ObjectMeta(name=name))
    found.spec.request, found.spec.signer_name = node_request(subject or user, addresses, names), signer
    found.spec.usages.extend(usages or ("digital signature", "server auth" if signer == SERVING_SIGNER else "client auth"))
    if seconds:
        found.spec.expiration_seconds = seconds
    return found


@cache
def pod_key_request() -> bytes:
    """That of a pod's key, DER, the same for all who ask for it."""
    return key_and_request("ED25519")[1]


def pod_certificate_request(name: str) -> certificates.PodCertificateRequest:
    """What a kubelet asks for, for some pod of the default namespace."""
    found = certificates.PodCertificateRequest(metadata=meta.ObjectMeta(name=name, namespace="default"))
    spec = found.spec
    spec.signer_name, spec.stub_pkcs10_request = "example.com/mesh", pod_key_request()
    spec.pod_name, spec.pod_uid, spec.node_name, spec.node_uid = "web", "uid-of-web", "node-1", "uid-of-node-1"
    spec.service_account_name, spec.service_account_uid = "default", "uid-of-default"
    return found


@cache
def authority(name: str) -> str:
    """The certificate of an authority of that name, PEM, the same for all who ask for it."""
    return CertificateAuthority.create(name).pair.certificate.decode()


@cache
def signing() -> Signing:
    """An authority in files of this process."""
    folder = Path(tempfile.mkdtemp(prefix="knarr-signing-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    CertificateAuthority.create().pair.save(folder, "ca")
    return Signing(folder / "ca.crt", folder / "ca.key")


@cache
def signing_keys() -> SigningKeys:
    """The same ones for all tests of a process."""
    key = ec.generate_private_key(ec.SECP256R1())
    return SigningKeys(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

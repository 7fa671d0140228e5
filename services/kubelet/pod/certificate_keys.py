"""Private keys for pods, of Kubernetes' types, and requests that prove that somebody has them. Loaded where a pod wants one."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

RSA_EXPONENT = 65537
RSA_BITS = {"RSA3072": 3072, "RSA4096": 4096}
CURVES: dict[str, type[ec.EllipticCurve]] = {"ECDSAP256": ec.SECP256R1, "ECDSAP384": ec.SECP384R1, "ECDSAP521": ec.SECP521R1}


def is_slow(key_type: str) -> bool:
    """Whether making a key of that type takes so long that others would wait for it: an RSA key up to seconds."""
    return key_type in RSA_BITS


def key_and_request(key_type: str) -> tuple[str, bytes]:
    """A new key, PKCS#8 in PEM, and a PKCS#10 request (DER) that is signed by it and says nothing else. Raises ValueError."""
    key = _key(key_type)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, digest)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return text, request.public_bytes(Encoding.DER)


def _key(key_type: str) -> Any:
    if key_type in RSA_BITS:
        return rsa.generate_private_key(RSA_EXPONENT, RSA_BITS[key_type])
    if key_type in CURVES:
        return ec.generate_private_key(CURVES[key_type]())
    if key_type == "ED25519":
        return ed25519.Ed25519PrivateKey.generate()
    raise ValueError(f'unknown key type "{key_type}"')

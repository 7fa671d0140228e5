"""Requests for certificates, as PEM, and keys that sign tokens."""

from __future__ import annotations

from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.apiserver.tokens.keys import SigningKeys


def signing_request(common_name: str) -> bytes:
    """A PKCS#10 request, signed by a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@cache
def signing_keys() -> SigningKeys:
    """The same ones for all tests of a process."""
    key = ec.generate_private_key(ec.SECP256R1())
    return SigningKeys(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

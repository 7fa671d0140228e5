"""What a pod's key and certificate are: read from the request that proves the key, and from the chain that a signer answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from knarr.objects import pem

RSA_BITS = (3072, 4096)
CURVES = ("secp256r1", "secp384r1", "secp521r1")
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")


@dataclass(frozen=True, slots=True)
class Leaf:
    """The first certificate of a chain. ``key`` as ``spki`` writes it; ``bad_names`` are names in it that nobody should have, and why."""

    key: bytes
    begins: datetime
    ends: datetime
    bad_names: tuple[tuple[str, str], ...]


def spki(key: PublicKeyTypes) -> bytes:
    """A public key as certificates hold it."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def requested_key(request: bytes) -> tuple[PublicKeyTypes | None, str]:
    """The key of a PKCS#10 request (DER) that is signed by it; None, and in words why it is none."""
    try:
        read = x509.load_der_x509_csr(request)
        key = read.public_key()
        words = _why_no_key(key)
        if not words and not read.is_signature_valid:
            words = "could not verify proof-of-possession signature"
    except (*UNREADABLE, InvalidSignature):
        return None, "must be a valid PKCS#10 certificate request, DER-encoded"
    return (None, words) if words else (key, "")


def _why_no_key(key: PublicKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in CURVES else "elliptic public keys must use curve P256, P384 or P521"
    if isinstance(key, rsa.RSAPublicKey):
        return "" if key.key_size in RSA_BITS else "RSA keys must have modulus size 3072 or 4096"
    return "" if isinstance(key, ed25519.Ed25519PublicKey) else "unknown public key type; supported types are Ed25519, ECDSA, and RSA"


def leaf_of(chain: str) -> tuple[Leaf | None, str]:
    """The first of the certificates of a chain in PEM; None, and in words what is wrong with the chain."""
    blocks = list(pem.blocks(chain))
    if not blocks:
        return None, "issued certificate chain must contain at least one certificate"
    if any(block.label != pem.CERTIFICATE for block in blocks):
        return None, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks"
    leaf, *others = (_read(block.data) for block in blocks)
    if leaf is None:
        return None, "leaf certificate does not parse as valid X.509"
    return (None, "intermediate certificate does not parse as valid X.509") if None in others else (leaf, "")


def _read(der: bytes) -> Leaf | None:
    try:
        read = x509.load_der_x509_certificate(der)
        return Leaf(spki(read.public_key()), read.not_valid_before_utc, read.not_valid_after_utc, tuple(_bad_names(read.extensions)))
    except UNREADABLE:
        return None


def _bad_names(extensions: x509.Extensions) -> Iterator[tuple[str, str]]:
    """What a client that compares carelessly could take for another's name."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in names.get_values_for_type(x509.DNSName):
        if not name:
            yield name, "leaf certificate should not contain empty DNSName"
        elif ".." in name:
            yield name, "leaf certificate's DNSName should not contain '..'"
        elif name.startswith(".") or name.endswith("."):
            yield name, "leaf certificate's DNSName should not start or end with '.'"
    for address in names.get_values_for_type(x509.RFC822Name):
        if not _ADDRESS.fullmatch(address):
            yield address, "leaf certificate should not contain invalid EmailAddress"

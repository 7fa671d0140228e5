"""Certificates from Secrets, and the one that is shown where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from knarr.api.core.v1 import core_pb2 as core

CERTIFICATE, KEY = "tls.crt", "tls.key"
OWN_NAME = "knarr gateway: no certificate was given"
OWN_HOSTS = ("localhost", "*.localhost")
OWN_DAYS = 365


class BadKeypair(ValueError):
    """In words for the user, without where it stands."""


def pem_of(secret: core.Secret) -> str:
    """Certificate, those that signed it, and key, written anew. BadKeypair says what is wrong with a Secret."""
    for name in (CERTIFICATE, KEY):
        if not secret.data.get(name):
            raise BadKeypair(f"has no {name}")
    try:
        chain = x509.load_pem_x509_certificates(secret.data[CERTIFICATE])
    except ValueError as error:
        raise BadKeypair(f"its {CERTIFICATE} is no certificate in PEM: {error}") from None
    try:
        key = serialization.load_pem_private_key(secret.data[KEY], None)
    except (ValueError, TypeError) as error:
        raise BadKeypair(f"its {KEY} is no key in PEM without a password: {error}") from None
    plain = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*plain) != chain[0].public_key().public_bytes(*plain):
        raise BadKeypair(f"its {KEY} is not the key of its {CERTIFICATE}")
    return _written(chain, key)


def own_pem(now: datetime) -> str:
    """One that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, OWN_NAME)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - timedelta(hours=1))
        .not_valid_after(now.astimezone(UTC) + timedelta(days=OWN_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in OWN_HOSTS]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _written([made], key)


def _written(chain: list[x509.Certificate], key: PrivateKeyTypes) -> str:
    written = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join([*(each.public_bytes(serialization.Encoding.PEM) for each in chain), written]).decode()

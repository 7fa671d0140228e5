"""Certificates from Secrets, and the one that is shown where there is none."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from knarr.api.core.v1 import core_pb2 as core

CERTIFICATE, KEY = "tls.crt", "tls.key"
OWN_NAME = "knarr gateway: no certificate was given"
OWN_HOSTS = ("localhost", "*.localhost")
OWN_DAYS = 365
# How many pairs are remembered as they were read.
CACHED = 2048


class BadKeypair(ValueError):
    """In words for the user, without where it stands."""


def pem_of(secret: core.Secret) -> str:
    """Certificate, those that signed it, and key, written anew. BadKeypair says what is wrong with a Secret."""
    for name in (CERTIFICATE, KEY):
        if not secret.data.get(name):
            raise BadKeypair(f"has no {name}")
    pem, problem = _read(secret.data[CERTIFICATE], secret.data[KEY])
    if problem:
        raise BadKeypair(problem)
    return pem


@lru_cache(maxsize=CACHED)
def _read(certificate: bytes, private: bytes) -> tuple[str, str]:
    """As `pem_of`, and what is wrong. Each is asked for with every change of a route, and takes most of a millisecond."""
    try:
        chain = x509.load_pem_x509_certificates(certificate)
    except ValueError as error:
        return "", f"its {CERTIFICATE} is no certificate in PEM: {error}"
    try:
        key = serialization.load_pem_private_key(private, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return "", f"its {KEY} is no key in PEM without a password: {error}"
    plain = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        same = key.public_key().public_bytes(*plain) == chain[0].public_key().public_bytes(*plain)
    except (ValueError, UnsupportedAlgorithm) as error:
        return "", f"its {CERTIFICATE} has a key that is not known here: {error}"
    if not same:
        return "", f"its {KEY} is not the key of its {CERTIFICATE}"
    written = _written(chain, key)
    return written, _refusal(written)


def _refusal(pem: str) -> str:
    """Why OpenSSL takes no such pair for a server, in words; empty when it does. One that it refuses (a key that is too short) would keep
    the proxy from starting, and so every other from being shown."""
    descriptor = os.memfd_create("keypair")
    try:
        os.write(descriptor, pem.encode())
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"/proc/self/fd/{descriptor}")
    except ssl.SSLError as error:
        return f"is refused by OpenSSL: {(error.reason or str(error)).lower().replace('_', ' ')}"
    finally:
        os.close(descriptor)
    return ""


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

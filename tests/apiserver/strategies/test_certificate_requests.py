"""Requests for certificates that are none, though they can be read in part."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.apiserver.strategies.certificates import request_error

ORGANIZATION, ECDSA_SHA256 = bytes.fromhex("55040a"), bytes.fromhex("2a8648ce3d040302")
SEQUENCE, SET, OBJECT_ID, INTEGER, BIT_STRING, UTF8 = 0x30, 0x31, 6, 2, 3, 12


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    return bytes((tag, *((size,) if size < 128 else (0x81, size) if size < 256 else (0x82, size >> 8, size & 0xFF)))) + content


def request(tag: int, organization: bytes) -> bytes:
    """Signed by its own key, whatever its subject is."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = der(SEQUENCE, der(SET, der(SEQUENCE, der(OBJECT_ID, ORGANIZATION), der(tag, organization))))
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = der(SEQUENCE, der(INTEGER, b"\0"), name, public, der(0xA0))
    signature = der(BIT_STRING, b"\0", key.sign(info, ec.ECDSA(SHA256())))
    text = base64.encodebytes(der(SEQUENCE, info, der(SEQUENCE, der(OBJECT_ID, ECDSA_SHA256)), signature))
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + text + b"-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize("tag, organization", [(UTF8, b"\xff\xfe"), (BIT_STRING, b"\0ab"), (INTEGER, b"\1"), (SEQUENCE, b"")])
def test_a_subject_that_cannot_be_read_is_refused_before_anybody_looks_at_it(tag: int, organization: bytes) -> None:
    assert request_error(request(UTF8, b"a")) == ""
    assert request_error(request(tag, organization)).startswith("x509: ")

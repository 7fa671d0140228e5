"""Whom a client certificate names, and for how long: CN is the name, each O a group, as in Kubernetes.

That an authority which is trusted has signed it, whoever has shaken hands knows. Its time is looked at with every request: a connection
may outlive the certificate that it began with, and the clock may be set.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from knarr.service.authentication import AUTHENTICATED, User

log = logging.getLogger(__name__)

# Names the certificate among the extra values of its user, as Kubernetes does.
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
# An attribute of the subject that is the user's uid, as in Kubernetes.
UID_ATTRIBUTE = "1.3.6.1.4.1.57683.2"
# Of certificates that RPCs show again and again.
REMEMBERED, REMEMBERED_BYTES = 1024, 16 * 1024


@dataclass(frozen=True, slots=True)
class CertifiedUser:
    """Times are seconds since 1970, both included."""

    user: User
    begins: float
    ends: float

    def at(self, seconds: float) -> User | None:
        """The user, within the time of his certificate and of all that vouch for it."""
        return self.user if self.begins <= seconds <= self.ends else None


def of_connection(connection: ssl.SSLObject | None) -> CertifiedUser | None:
    """Whom the verified certificate of a connection names; None where there is none, or one without a name."""
    if connection is None:
        return None
    try:
        found = [certified(der) for der in _chain(connection)]
    except ValueError as error:
        log.warning("a client certificate cannot be read", extra={"error": error})
        return None
    if not found or (leaf := found[0][0]) is None:
        return None
    return CertifiedUser(leaf, max(begins for _, begins, _ in found), min(ends for *_, ends in found))


@lru_cache(maxsize=REMEMBERED)
def _of_pem(pem: bytes) -> CertifiedUser | None:
    user, begins, ends = certified(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")))
    return CertifiedUser(user, begins, ends) if user is not None else None


def of_pem(pem: bytes) -> CertifiedUser | None:
    """Whom a certificate names that a handshake has verified; None where it has no name. Raises ValueError for what is none."""
    return _of_pem(pem) if len(pem) <= REMEMBERED_BYTES else _of_pem.__wrapped__(pem)


def certified(der: bytes) -> tuple[User | None, float, float]:
    """The user that a certificate names, if any, and its time. Raises ValueError for what is no certificate."""
    # Components that show their own certificate need not import this.
    from cryptography import x509
    from cryptography.x509.oid import NameOID, ObjectIdentifier

    certificate = x509.load_der_x509_certificate(der)
    subject: Any = certificate.subject
    names, groups, uids = (
        [str(attribute.value) for attribute in subject.get_attributes_for_oid(kind)]
        for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, ObjectIdentifier(UID_ATTRIBUTE))
    )
    user = None
    # Of several names the last one counts, and several uids are none, as in Kubernetes.
    if names and names[-1] and len(uids) < 2:
        extra = ((CREDENTIAL_ID, (f"X509SHA256={sha256(der).hexdigest()}",)),)
        user = User(names[-1], "".join(uids), (*groups, AUTHENTICATED), extra)
    return user, certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def _chain(connection: Any) -> list[bytes]:
    """The certificates that vouch for the client, its own first, in DER. Of a session that is taken up again its own alone: what vouched
    for it was looked at when the session began, by the same context."""
    found: list[bytes] = []
    inner = getattr(connection, "_sslobj", None)
    if hasattr(connection, "get_verified_chain"):
        found = list(connection.get_verified_chain())
    elif inner is not None and hasattr(inner, "get_verified_chain"):
        # The same before Python 3.13.
        found = [one.public_bytes(ssl._ssl.ENCODING_DER) for one in inner.get_verified_chain() or ()]  # type: ignore[attr-defined]
    own = connection.getpeercert(binary_form=True) if not found else None
    return [own] if own else found

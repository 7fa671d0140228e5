"""The cluster's certificate authority and the certificates it signs.

Keys are ECDSA P-256: quick to make and small on the wire. A certificate's common name is the
user's name and its organizations are the user's groups, as in Kubernetes.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from knarr.service.errors import CommandError
from knarr.service.keypair import KeyPair

log = logging.getLogger(__name__)

CA_NAME = "knarr-ca"
CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
# Clocks of clients may be behind ours.
CLOCK_SKEW = timedelta(hours=1)
# What is good for less is made anew.
LEAF_RESERVE = timedelta(days=30)
# No leaf may outlive its authority.
CA_RESERVE = LEAF_LIFETIME + LEAF_RESERVE


_USAGE_BITS = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
    "encipher_only", "decipher_only",
)  # fmt: skip
# The words of a CertificateSigningRequest. What would make an authority of somebody is not among them.
KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
}
EXTENDED_USAGES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as it lies in a file."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, begins: datetime, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _key_usage(*bits: str) -> x509.KeyUsage:
    return x509.KeyUsage(**dict.fromkeys(_USAGE_BITS, False) | dict.fromkeys(bits, True))


class CertificateAuthority:
    """Signs the certificates of one cluster."""

    def __init__(self, pair: KeyPair) -> None:
        self.pair = pair
        self._certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"the CA key must be an elliptic-curve key, not {type(key).__name__}")
        self._key = key

    @classmethod
    def create(cls, name: str = CA_NAME) -> CertificateAuthority:
        return cls._signed_by_itself(name, ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def _signed_by_itself(cls, name: str, key: ec.EllipticCurvePrivateKey) -> CertificateAuthority:
        subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
        certificate = (
            _builder(subject, subject, key.public_key(), now - CLOCK_SKEW, now + CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature", "key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(KeyPair(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key)))

    @classmethod
    def load_or_create(cls, folder: Path, name: str = CA_NAME) -> CertificateAuthority:
        """The authority kept in ``folder`` as ``ca.crt`` and ``ca.key``; made when neither they nor any other certificate are there.

        Raises CommandError when they are not a certificate and its key: a new authority would shut out all whom the old one let in.
        """
        # The key is written last: a certificate alone is what a first start left that was cut off there.
        if not (folder / "ca.key").exists() and not any(path.name != "ca.crt" for path in folder.glob("*.crt")):
            authority = cls.create(name)
            authority.pair.save(folder, "ca")
            return authority
        try:
            pair = KeyPair.load(folder, "ca")
            if belong_together(pair):
                return cls(pair)._in_force(folder)
            reason = "the key is another certificate's"
        except FileNotFoundError as error:
            reason = f"{error.filename} is missing"
        except (ValueError, TypeError):
            reason = "one of them is damaged"
        raise CommandError(
            f"{folder}/ca.crt and ca.key are not a certificate and its key ({reason}); "
            f"bring them back from a copy, or remove {folder}: then all certificates are made anew, and earlier kubeconfigs are void"
        )

    def _in_force(self, folder: Path) -> CertificateAuthority:
        """Itself; or, when its certificate is not good yet or not for long, the same key with a new one: what it signed stays good."""
        if is_good_for(self._certificate, CA_RESERVE):
            return self
        (name,) = self._certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        log.warning(
            "the authority's certificate was made anew, with its key; kubeconfigs that were copied need its new one",
            extra={"path": str(folder / "ca.crt"), "good_from": self._certificate.not_valid_before_utc.isoformat()},
        )
        renewed = self._signed_by_itself(str(name.value), self._key)
        renewed.pair.save(folder, "ca")
        return renewed

    def kept_pair(
        self, folder: Path, name: str, common_name: str, *, organizations: Iterable[str] = (), hosts: Iterable[str] = ()
    ) -> KeyPair:
        """The pair kept in ``folder`` as ``<name>.crt`` and ``<name>.key``.

        Made anew when it is missing or damaged, another authority's, not good yet, about to expire, or does not name all ``hosts``.
        """
        hosts = list(hosts)
        try:
            pair = KeyPair.load(folder, name)
            if (
                belong_together(pair)
                and self.has_issued(x509.load_pem_x509_certificate(pair.certificate))
                and covers(pair.certificate, hosts)
            ):
                return pair
        except (FileNotFoundError, ValueError, TypeError):
            pass
        pair = self.issue(common_name, organizations=organizations, hosts=hosts)
        pair.save(folder, name)
        return pair

    def has_issued(self, certificate: x509.Certificate) -> bool:
        return is_issued_by(certificate, self.pair.certificate)

    @property
    def ends(self) -> datetime:
        """When its own certificate does; so does all that it has signed."""
        return self._certificate.not_valid_after_utc

    def sign(
        self,
        subject: x509.Name,
        key: Any,
        *,
        usages: Iterable[str],
        names: x509.SubjectAlternativeName | None,
        begins: datetime,
        ends: datetime,
    ) -> bytes:
        """Signs a certificate of somebody else's key, PEM. ``usages`` are in the words of a CertificateSigningRequest; raises ValueError
        for one that is for authorities alone."""
        wanted = set(usages)
        if strange := sorted(wanted - KEY_USAGES.keys() - EXTENDED_USAGES.keys()):
            raise ValueError(f"certificates for {', '.join(strange)} are not signed")
        builder = (
            _builder(subject, self._certificate.subject, key, begins, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if bits := [KEY_USAGES[usage] for usage in wanted & KEY_USAGES.keys()]:
            builder = builder.add_extension(_key_usage(*bits), critical=True)
        if extended := [EXTENDED_USAGES[usage] for usage in sorted(wanted & EXTENDED_USAGES.keys())]:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=not list(subject))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, common_name: str, *, organizations: Iterable[str] = (), hosts: Iterable[str] = ()) -> KeyPair:
        """Signs a certificate; with ``hosts`` (names or addresses) it serves, and it is always good for clients."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
        subject = x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        served = [general_name(host) for host in hosts]
        certificate = self.sign(
            subject,
            key.public_key(),
            usages=["digital signature", "client auth", *(["server auth"] if served else [])],
            names=x509.SubjectAlternativeName(served) if served else None,
            begins=now - CLOCK_SKEW,
            ends=now + LEAF_LIFETIME,
        )
        return KeyPair(certificate, key_pem(key))


def general_name(host: str) -> x509.GeneralName:
    """A name or an address, as a certificate has it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def is_issued_by(certificate: x509.Certificate, issuer: bytes) -> bool:
    """Whether an authority has signed it, by the name and the key of the authority's certificate, PEM."""
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(issuer))
    except (InvalidSignature, ValueError, TypeError):
        # By another key, under another name, or of another kind.
        return False
    return True


def belong_together(pair: KeyPair) -> bool:
    """Whether the certificate is that of the key. Raises ValueError when one of them is damaged."""
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    return certificate.public_key() == serialization.load_pem_private_key(pair.key, None).public_key()


def is_good_for(certificate: x509.Certificate, reserve: timedelta) -> bool:
    """Whether it is good now (a clock that was ahead makes certificates of the future), and for ``reserve`` longer."""
    now = datetime.now(UTC)
    return certificate.not_valid_before_utc <= now and now + reserve <= certificate.not_valid_after_utc


def covers(certificate: bytes, hosts: Iterable[str], *, at_least: timedelta = LEAF_RESERVE) -> bool:
    """Whether a PEM certificate names all ``hosts``, is good now and for ``at_least`` longer."""
    parsed = x509.load_pem_x509_certificate(certificate)
    if not is_good_for(parsed, at_least):
        return False
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return not list(hosts)
    return all(general_name(host) in list(names) for host in hosts)

"""The node's own certificates: asked for by a CertificateSigningRequest, kept in files, and renewed before they expire.

Whoever shows them looks at the files (``KeptPair``), so nothing is restarted. A private key is made for each request and leaves this
machine never; it lies on the disk once its certificate is there, not before.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.errors import NotFound, StatusError
from knarr.service.authentication import NODE_PREFIX, NODES
from knarr.service.keypair import KeyPair

if TYPE_CHECKING:
    from cryptography import x509

log = logging.getLogger(__name__)

CLIENT_SIGNER, SERVING_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"
CLIENT, SERVING = "client", "serving"
# When this part of its time is over a certificate is renewed, a different one on each node; between two looks at the time of day; after
# a request that came to nothing; how often it is looked for an answer, and for how long.
RENEWED_AFTER, SPREAD = 0.7, 0.2
LOOK_SECONDS, RETRY_SECONDS, ASK_SECONDS, PATIENT_SECONDS = 60.0, 30.0, 1.0, 900.0
SHORTEST_SECONDS = 5.0


class NotIssued(Exception):
    """Why there is no certificate, in words."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate of a node: what it is called in its folder, who signs it and for what. ``hosts`` are names and addresses at which it
    serves."""

    name: str
    signer: str
    usage: str
    hosts: tuple[str, ...] = ()


def client_certificate() -> Wanted:
    return Wanted(CLIENT, CLIENT_SIGNER, "client auth")


def serving_certificate(*hosts: str) -> Wanted:
    return Wanted(SERVING, SERVING_SIGNER, "server auth", hosts)


def pause(now: datetime, due: datetime, ends: datetime) -> float:
    """Seconds until a certificate is looked at again: until it is due, if that is soon; for one that is due from its beginning, as those of
    minutes are that begin before they are signed, half of what is left of it."""
    left = due - now if due > now else (ends - now) / 2
    return min(LOOK_SECONDS, max(SHORTEST_SECONDS, left.total_seconds()))


class OwnCertificate:
    """One of a node's certificates, kept in ``folder`` as ``<name>.crt`` and ``<name>.key``."""

    def __init__(
        self, node: str, wanted: Wanted, folder: Path, clock: Clock = SYSTEM_CLOCK, *, share: float = 0.5, authority: bytes = b""
    ) -> None:
        """``share``, from 0 to 1, spreads the renewals of many nodes. With an ``authority`` (PEM) one that another has signed is due."""
        self._node, self._wanted, self._folder, self._clock, self._authority = node, wanted, folder, clock, authority
        self._part = RENEWED_AFTER + SPREAD * share

    @property
    def is_there(self) -> bool:
        """Whether there is one, and the key that belongs to it."""
        return self._certificate() is not None

    @property
    def is_good(self) -> bool:
        """Whether there is one that is good at this time."""
        found = self._certificate()
        return found is not None and found.not_valid_before_utc <= self._clock.now() < found.not_valid_after_utc

    @property
    def is_due(self) -> bool:
        """Whether another one is to be asked for."""
        found = self._certificate()
        if found is None or not self._is_signed(found):
            return True
        begins, due, _ = self._times(found)
        return not begins <= self._clock.now() < due

    async def run(self, client: Client) -> None:
        """Renews it by ``client``, until cancelled. What fails is tried again; the former one is shown as long as it is good."""
        while True:
            if self.is_due:
                try:
                    await self.renew(client)
                except (NotIssued, StatusError, OSError) as error:
                    words = error.status.message if isinstance(error, StatusError) else str(error)
                    log.warning("a certificate was not renewed; trying again", extra={"certificate": self._wanted.name, "error": words})
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
            await asyncio.sleep(self._until_next_look())

    def _until_next_look(self) -> float:
        """Seconds. The time of day is looked at again and again: clocks are set, and machines sleep."""
        found = self._certificate()
        if found is None:
            return LOOK_SECONDS
        _, due, ends = self._times(found)
        return pause(self._clock.now(), due, ends)

    def _times(self, found: x509.Certificate) -> tuple[datetime, datetime, datetime]:
        """When it begins, is due to be renewed, and ends."""
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
        return begins, begins + (ends - begins) * self._part, ends

    async def renew(self, client: Client) -> None:
        """Asks for one and keeps it. Raises NotIssued, StatusError, OSError."""
        request, key = self._request()
        made = await client.create(request)
        name = made.metadata.name
        log.info("a certificate was asked for", extra={"certificate": self._wanted.name, "request": name})
        try:
            async with asyncio.timeout(PATIENT_SECONDS):
                certificate = await self._issued(client, name)
        except TimeoutError:
            raise NotIssued(f"nobody approved and signed the request {name} within {PATIENT_SECONDS:g} s") from None
        KeyPair(certificate, key).save(self._folder, self._next)
        self._take_next()
        log.info("a certificate was renewed", extra={"certificate": self._wanted.name, "request": name})

    async def _issued(self, client: Client, name: str) -> bytes:
        while True:
            try:
                found = await client.get(certificates.CertificateSigningRequest, name)
            except NotFound:
                raise NotIssued(f"the request {name} is gone") from None
            for condition in found.status.conditions:
                if condition.type in ("Denied", "Failed"):
                    raise NotIssued(f"the request {name}: {condition.type}: {condition.message or condition.reason}")
            if found.status.certificate:
                return found.status.certificate
            await asyncio.sleep(ASK_SECONDS)

    def _request(self) -> tuple[certificates.CertificateSigningRequest, bytes]:
        """A request and the private key that belongs to it, PEM."""
        # A kubelet that is given its certificates need not import this.
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        from knarr.service.certificates import general_name, key_pem

        key = ec.generate_private_key(ec.SECP256R1())
        named = ((NameOID.ORGANIZATION_NAME, NODES), (NameOID.COMMON_NAME, f"{NODE_PREFIX}{self._node}"))
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(*one) for one in named]))
        if hosts := [general_name(host) for host in self._wanted.hosts]:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        made = certificates.CertificateSigningRequest(metadata=meta.ObjectMeta(generate_name="csr-"))
        made.spec.request = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        made.spec.signer_name = self._wanted.signer
        made.spec.usages.extend(["digital signature", self._wanted.usage])
        return made, key_pem(key)

    def _is_signed(self, found: x509.Certificate) -> bool:
        from knarr.service.certificates import is_issued_by

        return not self._authority or is_issued_by(found, self._authority)

    def _certificate(self) -> x509.Certificate | None:
        """The one that is kept; None where there is none, or it is no pair. One that was replaced by half is replaced."""
        from cryptography import x509

        pair = self._pair(self._wanted.name) or self._take_next()
        return x509.load_pem_x509_certificate(pair.certificate) if pair is not None else None

    @property
    def _next(self) -> str:
        """What a pair is called until both of its files are in place: without one of them the node would be nobody."""
        return f"{self._wanted.name}-next"

    def _take_next(self) -> KeyPair | None:
        """Puts the next pair in its place, if there is one."""
        pair = self._pair(self._next)
        if pair is not None:
            pair.save(self._folder, self._wanted.name)
            for ending in ("key", "crt"):
                (self._folder / f"{self._next}.{ending}").unlink(missing_ok=True)
        return pair

    def _pair(self, name: str) -> KeyPair | None:
        from knarr.service.certificates import belong_together

        try:
            pair = KeyPair.load(self._folder, name)
            return pair if belong_together(pair) else None
        except (OSError, ValueError, TypeError):
            return None

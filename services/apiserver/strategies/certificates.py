"""The strategies of certificates.k8s.io: requests for certificates, and bundles of those that are trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT_TEXT,
    Path,
    check_distinct_choices,
    check_immutable,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    path_segment,
    required,
    shown,
    too_long,
)
from knarr.objects import pem
from knarr.objects.copies import copy_field, copy_of
from services.apiserver.strategies.duration import human_duration
from services.apiserver.strategies.paths import METADATA, SPEC, STATUS
from services.apiserver.strategies.signers import bundle_name, validate_signer
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, age, columns

REQUEST_PEM, CERTIFICATE_PEM = b"-----BEGIN CERTIFICATE REQUEST-----", b"-----BEGIN CERTIFICATE-----"
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement",
    "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip
SHORTEST_SECONDS = 600
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
# What can be true only: a request is not un-approved.
FINAL = ("Approved", "Denied", "Failed")
# Who may write these may do so for the signer: they are written to `/approval` alone.
DECISIONS = ("Approved", "Denied")
STATUSES = ("False", "True", "Unknown")
MAX_TRUST_BUNDLE_BYTES = 1024 * 1024


class CertificateSigningRequestStrategy(Strategy):
    """What is asked for is never changed; who asked, the server writes."""

    columns = columns("Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition")
    name_format = staticmethod(path_segment)
    selectable_field_names = ("spec.signerName",)

    def default(self, obj: certificates.CertificateSigningRequest) -> None:
        for condition in obj.status.conditions:
            condition.status = condition.status or "True"

    def prepare_for_update(self, new: Any, old: Any) -> None:
        super().prepare_for_update(new, old)
        copy_field("spec", new, old)

    def stamp(self, new: Any, old: Any, now: Callable[[], datetime]) -> None:
        """When conditions came, and were last written: `kubectl certificate approve` leaves that to the server."""
        before = {(condition.type, condition.status): condition for condition in old.status.conditions}
        for condition in new.status.conditions:
            if not condition.HasField("last_update_time"):
                condition.last_update_time.seconds = int(now().timestamp())
            if condition.HasField("last_transition_time"):
                continue
            known = before.get((condition.type, condition.status))
            if known is not None and known.HasField("last_transition_time"):
                condition.last_transition_time.CopyFrom(known.last_transition_time)
            else:
                condition.last_transition_time.seconds = int(now().timestamp())

    def validate(self, obj: certificates.CertificateSigningRequest) -> list[Cause]:
        spec = obj.spec
        error = request_error(spec.request)
        causes = [invalid(SPEC.child("request"), CUT_TEXT, error)] if error else []
        causes += _usages(spec, SPEC.child("usages"))
        if spec.signer_name == LEGACY_SIGNER:
            words = "the legacy signerName is not allowed via this API version"
            causes.append(invalid(SPEC.child("signerName"), spec.signer_name, words))
        else:
            causes += validate_signer(spec.signer_name, SPEC.child("signerName"))
        if spec.HasField("expiration_seconds") and spec.expiration_seconds < SHORTEST_SECONDS:
            words = f"may not specify a duration less than {SHORTEST_SECONDS} seconds (10 minutes)"
            causes.append(invalid(SPEC.child("expirationSeconds"), spec.expiration_seconds, words))
        return causes + _status(obj)

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """A decision that is there stays as it is."""
        super().prepare_for_status_update(new, old)
        for kind in DECISIONS:
            found, kept = _of_kind(new, kind), _of_kind(old, kind)
            if len(found) == len(kept):
                for condition, before in zip(found, kept, strict=True):
                    condition.CopyFrom(before)

    def prepare_for_approval(self, new: Any, old: Any) -> None:
        """Of the status only conditions are written."""
        given = copy_of(new.status)
        super().prepare_for_status_update(new, old)
        new.status.CopyFrom(old.status)
        del new.status.conditions[:]
        new.status.conditions.extend(given.conditions)

    def validate_status_update(self, new: Any, old: Any) -> list[Cause]:
        """Who writes the status decides nothing: what is approved is signed."""
        return self.validate_approval_update(new, old) + [
            forbidden(STATUS.child("conditions"), f"updates may not add a condition of type {shown(kind)}")
            for kind in DECISIONS
            if len(_of_kind(new, kind)) > len(_of_kind(old, kind))
        ]

    def validate_approval_update(self, new: Any, old: Any) -> list[Cause]:
        """An approval and a denial are for ever; a certificate too."""
        causes = _status(new)
        for kind in FINAL:
            if len(_of_kind(new, kind)) < len(_of_kind(old, kind)):
                causes.append(forbidden(STATUS.child("conditions"), f"updates may not remove a condition of type {shown(kind)}"))
        if old.status.certificate and new.status.certificate != old.status.certificate:
            causes.append(forbidden(STATUS.child("certificate"), "updates may not modify existing certificate content"))
        return causes

    def selectable_fields(self, obj: certificates.CertificateSigningRequest) -> Mapping[str, str]:
        return {"spec.signerName": obj.spec.signer_name}

    def cells(self, obj: certificates.CertificateSigningRequest, now: datetime) -> list[object]:
        spec = obj.spec
        duration = human_duration(spec.expiration_seconds) if spec.HasField("expiration_seconds") else NONE
        return [obj.metadata.name, age(obj, now), spec.signer_name or NONE, spec.username, duration, _condition(obj)]


def request_error(pem: bytes) -> str:
    """Why a PKCS#10 request in PEM is none; empty when it is one, signed by its own key."""
    if not pem.lstrip().startswith(REQUEST_PEM):
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        request = x509.load_pem_x509_csr(pem)
        _ = request.subject  # which is only read when somebody asks for it
        return "" if request.is_signature_valid else "x509: the signature of the request is not valid"
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        return f"x509: {error}"


def _usages(spec: certificates.CertificateSigningRequestSpec, path: Path) -> list[Cause]:
    return check_distinct_choices(path, spec.usages, USAGES) if spec.usages else [required(path)]


def _status(obj: certificates.CertificateSigningRequest) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate(obj.status.conditions):
        here = STATUS.child("conditions").index(index)
        if not condition.type:
            causes.append(required(here.child("type")))
        allowed = ("True",) if condition.type in FINAL else STATUSES
        if not condition.status:
            causes.append(required(here.child("status")))
        elif condition.status not in allowed:
            causes.append(not_supported(here.child("status"), condition.status, allowed))
        if condition.type in ("Approved", "Denied") and {"Approved", "Denied"} <= seen | {condition.type}:
            words = "Approved and Denied conditions are mutually exclusive"
            causes.append(invalid(STATUS.child("conditions"), condition.type, words))
        if condition.type in seen:
            causes.append(duplicate(here.child("type"), condition.type))
        seen.add(condition.type)
    error = certificates_error(obj.status.certificate)
    return [*causes, invalid(STATUS.child("certificate"), "<certificate data>", error)] if error else causes


def certificates_error(pem: bytes) -> str:
    """Why something is no certificates in PEM; empty when it is, or when there is nothing."""
    if not pem:
        return ""
    if CERTIFICATE_PEM not in pem:
        return "must contain at least one CERTIFICATE PEM block"
    try:
        x509.load_pem_x509_certificates(pem)
    except (ValueError, TypeError) as error:
        return f"x509: {error}"
    return ""


def _of_kind(obj: certificates.CertificateSigningRequest, kind: str) -> list[certificates.CertificateSigningRequestCondition]:
    return [condition for condition in obj.status.conditions if condition.type == kind]


def _condition(obj: certificates.CertificateSigningRequest) -> str:
    words = next((kind for kind in ("Approved", "Denied") if _of_kind(obj, kind)), "Pending")
    words += ",Failed" if _of_kind(obj, "Failed") else ""
    return f"{words},Issued" if obj.status.certificate else words


class ClusterTrustBundleStrategy(Strategy):
    """One of a signer is called after it."""

    columns = columns("Name", "SignerName")
    name_format = staticmethod(path_segment)
    selectable_field_names = ("spec.signerName",)

    def validate(self, obj: certificates.ClusterTrustBundle) -> list[Cause]:
        signer, name = obj.spec.signer_name, obj.metadata.name
        causes = [invalid(METADATA.child("name"), name, sentence) for sentence in bundle_name(name, signer)]
        return causes + (validate_signer(signer, SPEC.child("signerName")) if signer else [])

    def validate_create(self, obj: certificates.ClusterTrustBundle) -> list[Cause]:
        return _trust_bundle(obj.spec.trust_bundle, SPEC.child("trustBundle"))

    def validate_update(self, new: certificates.ClusterTrustBundle, old: certificates.ClusterTrustBundle) -> list[Cause]:
        """What is there already is not judged again: it stays changeable whatever newer libraries say of it."""
        changed = new.spec.trust_bundle != old.spec.trust_bundle
        causes = _trust_bundle(new.spec.trust_bundle, SPEC.child("trustBundle")) if changed else []
        return causes + check_immutable(SPEC.child("signerName"), new.spec.signer_name, old.spec.signer_name)

    def selectable_fields(self, obj: certificates.ClusterTrustBundle) -> Mapping[str, str]:
        return {"spec.signerName": obj.spec.signer_name}

    def cells(self, obj: certificates.ClusterTrustBundle, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.spec.signer_name or NONE]


def _trust_bundle(text: str, path: Path) -> list[Cause]:
    """Certificates of authorities in PEM, each once, and nothing between that could be taken for more."""
    if len(text.encode()) > MAX_TRUST_BUNDLE_BYTES:
        return [too_long(path, MAX_TRUST_BUNDLE_BYTES)]
    blocks = list(pem.blocks(text))
    wrong = [f"entry {number} {words}" for number, block in enumerate(blocks) if (words := _why_no_anchor(block))]
    if not wrong and not blocks:
        wrong = ["at least one trust anchor must be provided"]
    numbers: dict[bytes, list[int]] = {}
    for number, block in enumerate([] if wrong else blocks):
        numbers.setdefault(block.data, []).append(number)
    wrong += [f"duplicate trust anchor (indices [{' '.join(map(str, found))}])" for found in numbers.values() if len(found) > 1]
    return [invalid(path, "<value omitted>", words) for words in wrong]


def _why_no_anchor(block: pem.Block) -> str:
    """Why nobody can trust by a block; empty when somebody can."""
    if block.label != pem.CERTIFICATE:
        return f"has bad block type: {block.label}"
    if block.has_headers:
        return "has PEM block headers"
    try:
        constraints = x509.load_der_x509_certificate(block.data).extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "does not have the CA bit set"
    except (ValueError, TypeError, x509.DuplicateExtension, UnsupportedAlgorithm):
        return "does not parse as X.509"
    return "" if constraints.ca else "does not have the CA bit set"

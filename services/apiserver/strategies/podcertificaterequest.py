"""The strategy of requests for pods' certificates: what is asked for is never changed, and answered once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.errors import Cause
from knarr.machinery.forms import write_time
from knarr.machinery.times import to_datetime
from knarr.machinery.validation import (
    CUT,
    CUT_TEXT,
    Format,
    check_format,
    check_immutable,
    dns1123_subdomain,
    invalid,
    not_supported,
    required,
    too_long,
)
from services.apiserver.strategies.conditions import validate_condition
from services.apiserver.strategies.issued import Leaf, leaf_of, requested_key, spki
from services.apiserver.strategies.metadata import validate_user_annotations
from services.apiserver.strategies.paths import SPEC, STATUS
from services.apiserver.strategies.signers import SHORTEST_SECONDS, longest_seconds, validate_signer
from services.apiserver.strategies.strategy import Strategy

DEFAULT_SECONDS = 86400
MAX_UID, MAX_REQUEST, MAX_CHAIN = 128, 10 * 1024, 100 * 1024
ISSUED, DENIED, FAILED = FINAL = ("Issued", "Denied", "Failed")
SHORTEST_LIFE, FRESH = timedelta(hours=1), timedelta(minutes=10)
CONDITIONS, CHAIN, REQUEST = STATUS.child("conditions"), STATUS.child("certificateChain"), SPEC.child("stubPKCS10Request")
WHOLE_STATUS = CUT


class PodCertificateRequestStrategy(Strategy):
    """Who may answer, and that what is issued begins now, is admission's (`pod_certificate_signing`)."""

    selectable_field_names = ("spec.signerName", "spec.podName", "spec.nodeName")

    def default(self, obj: certificates.PodCertificateRequest) -> None:
        if not obj.spec.HasField("max_expiration_seconds"):
            obj.spec.max_expiration_seconds = DEFAULT_SECONDS

    def validate_create(self, obj: certificates.PodCertificateRequest) -> list[Cause]:
        spec = obj.spec
        causes = validate_signer(spec.signer_name, SPEC.child("signerName"))
        for kind, name, uid in (
            ("pod", spec.pod_name, spec.pod_uid),
            ("serviceAccount", spec.service_account_name, spec.service_account_uid),
            ("node", spec.node_name, spec.node_uid),
        ):
            causes += _named(kind, name, uid)
        longest = longest_seconds(spec.signer_name)
        if not SHORTEST_SECONDS <= spec.max_expiration_seconds <= longest:
            words = f"must be in the range [{SHORTEST_SECONDS}, {longest}]"
            causes.append(invalid(SPEC.child("maxExpirationSeconds"), spec.max_expiration_seconds, words))
        causes += validate_user_annotations(spec.unverified_user_annotations, SPEC.child("unverifiedUserAnnotations"))
        return causes + _request(spec.stub_pkcs10_request)

    def validate_update(self, new: certificates.PodCertificateRequest, old: certificates.PodCertificateRequest) -> list[Cause]:
        return check_immutable(SPEC, new.spec, old.spec, CUT)

    def validate_status_update(self, new: certificates.PodCertificateRequest, old: certificates.PodCertificateRequest) -> list[Cause]:
        """One answer: a certificate for the key that was shown, or why there is none."""
        causes = _conditions(new.status.conditions)
        if causes:
            return causes
        changed = new.status != old.status
        if answer(old) is not None:
            words = "immutable after PodCertificateRequest is issued, denied, or failed"
            return [invalid(STATUS, WHOLE_STATUS, words)] if changed else []
        kind = answer(new)
        if kind is None:
            words = 'status is immutable unless transitioning to "Issued", "Denied", or "Failed"'
            return [invalid(STATUS, WHOLE_STATUS, words)] if changed else []
        if kind == ISSUED:
            return _issued(new)
        if new.status != certificates.PodCertificateRequestStatus(conditions=new.status.conditions):
            words = "non-condition status fields must be empty when denying or failing the PodCertificateRequest"
            return [invalid(STATUS, WHOLE_STATUS, words)]
        return []

    def selectable_fields(self, obj: certificates.PodCertificateRequest) -> Mapping[str, str]:
        spec = obj.spec
        return {"spec.signerName": spec.signer_name, "spec.podName": spec.pod_name, "spec.nodeName": spec.node_name}


def answer(obj: certificates.PodCertificateRequest) -> str | None:
    """What became of a request; None while nothing has."""
    return next((condition.type for condition in obj.status.conditions if condition.type in FINAL and condition.status == "True"), None)


def _named(kind: str, name: str, uid: str) -> list[Cause]:
    form: Format = dns1123_subdomain
    causes = check_format(SPEC.child(f"{kind}Name"), name, form)
    here = SPEC.child(f"{kind}UID")
    if not uid:
        causes.append(invalid(here, uid, "must not be empty"))
    return [*causes, too_long(here, MAX_UID)] if len(uid) > MAX_UID else causes


def _request(request: bytes) -> list[Cause]:
    """A PKCS#10 request that proves that its sender has the key; what else it says nobody reads."""
    if len(request) > MAX_REQUEST:
        return [too_long(REQUEST, MAX_REQUEST)]
    _, words = requested_key(request)
    return [invalid(REQUEST, CUT_TEXT, words)] if words else []


def _conditions(conditions: Any) -> list[Cause]:
    causes: list[Cause] = []
    for index, condition in enumerate(conditions):
        here = CONDITIONS.index(index)
        if condition.type not in FINAL:
            causes.append(not_supported(here.child("type"), condition.type, FINAL))
            continue
        if index:
            words = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'
            causes.append(invalid(here.child("type"), condition.type, words))
        if condition.status != "True":
            causes.append(not_supported(here.child("status"), condition.status, ("True",)))
        causes += validate_condition(condition, here)
    return causes


def _issued(obj: certificates.PodCertificateRequest) -> list[Cause]:
    """The certificate is for the key of the request, lives no longer than was asked for, and the status says of it what is so."""
    status, spec = obj.status, obj.spec
    if len(status.certificate_chain.encode()) > MAX_CHAIN:
        return [too_long(CHAIN, MAX_CHAIN)]
    leaf, words = leaf_of(status.certificate_chain)
    if leaf is None:
        return [invalid(CHAIN, status.certificate_chain, words)]
    key, words = requested_key(spec.stub_pkcs10_request)
    if key is None:
        return [invalid(REQUEST, CUT_TEXT, words)]
    if spki(key) != leaf.key:
        return [invalid(CHAIN, status.certificate_chain, "leaf certificate was not issued to the requested public key")]
    return [invalid(CHAIN, name, words) for name, words in leaf.bad_names] or _times(status, leaf, spec.max_expiration_seconds)


def _times(status: certificates.PodCertificateRequestStatus, leaf: Leaf, longest_seconds_: int) -> list[Cause]:
    consistent = "must be present and consistent with the issued certificate"
    needed = {
        "not_before": ("notBefore", consistent),
        "not_after": ("notAfter", consistent),
        "begin_refresh_at": ("beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]"),
    }
    missing = [required(STATUS.child(name), words) for field, (name, words) in needed.items() if not status.HasField(field)]
    if missing:
        return missing
    begins, ends, refresh = (to_datetime(getattr(status, field)) for field in needed)
    life = ends - begins
    nanoseconds = life // timedelta(microseconds=1) * 1000
    told = {name: write_time(getattr(status, field)) for field, (name, _) in needed.items()}
    wrong: list[tuple[bool, str, str | int | None, str]] = [
        (begins != leaf.begins, "notBefore", told["notBefore"], "must be set to the NotBefore time encoded in the leaf certificate"),
        (ends != leaf.ends, "notAfter", told["notAfter"], "must be set to the NotAfter time encoded in the leaf certificate"),
        (life < SHORTEST_LIFE, "certificateChain", nanoseconds, "leaf certificate lifetime must be >= 1 hour"),
        (
            life.total_seconds() > longest_seconds_,
            "certificateChain",
            nanoseconds,
            f"leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest_seconds_})",
        ),
        (refresh < begins + FRESH, "beginRefreshAt", told["beginRefreshAt"], "must be at least 10 minutes after status.notBefore"),
        (refresh > ends - FRESH, "beginRefreshAt", told["beginRefreshAt"], "must be at least 10 minutes before status.notAfter"),
    ]
    # As in Kubernetes the first of them is told.
    return next(([invalid(STATUS.child(name), value, words)] for is_wrong, name, value, words in wrong if is_wrong), [])

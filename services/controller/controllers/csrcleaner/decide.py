"""CSRCleaner: when a request for a certificate has had its time. Pure; Kubernetes' times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

from knarr.api.certificates.v1 import certificates_pb2 as certificates

# Behind its decision, or its failure; and while nobody decides.
DECIDED, PENDING = timedelta(hours=1), timedelta(hours=24)


def seconds_left(request: certificates.CertificateSigningRequest, now: datetime) -> float:
    """Until it is to be deleted; 0 when it is due."""
    return max(0.0, (_end(request) - now).total_seconds())


def _end(request: certificates.CertificateSigningRequest) -> datetime:
    made, status = request.metadata.creation_timestamp.seconds, request.status
    ends = [datetime.fromtimestamp(made, tz=UTC) + PENDING] if not status.conditions else []
    for condition in status.conditions:
        # An approved one whose certificate did not come is kept as long as one that nobody has decided about.
        waits = condition.type == "Approved" and not status.certificate
        ends.append(datetime.fromtimestamp(condition.last_update_time.seconds or made, tz=UTC) + (PENDING if waits else DECIDED))
    if status.certificate:
        ends.append(_expiry(status.certificate))
    return min(ends)


def _expiry(pem: bytes) -> datetime:
    """What is no certificate ends with its time as a request."""
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)

"""PodCertificateCleaner: when a request for a pod's certificate has had its time. Pure; Kubernetes' time."""

from __future__ import annotations

from datetime import datetime, timedelta

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.machinery.times import to_datetime

# Long enough for its kubelet to take what was answered; who was not answered by then asks anew.
KEPT = timedelta(minutes=15)


def seconds_left(request: certificates.PodCertificateRequest, now: datetime) -> float:
    """Until it is to be deleted; 0 when it is due."""
    return max(0.0, (to_datetime(request.metadata.creation_timestamp) + KEPT - now).total_seconds())

"""PodCertificateCleaner: deletes requests for pods' certificates that have had their time."""

from __future__ import annotations

from typing import ClassVar

from google.protobuf.message import Message

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from services.controller.cleaner import CleanerController
from services.controller.controllers.podcertificatecleaner.decide import seconds_left


class PodCertificateCleanerController(CleanerController[certificates.PodCertificateRequest]):
    name = "podcertificatecleaner"
    cleaned: ClassVar[type[Message]] = certificates.PodCertificateRequest

    def seconds_left(self, obj: certificates.PodCertificateRequest) -> float:
        return seconds_left(obj, self.context.clock.now())

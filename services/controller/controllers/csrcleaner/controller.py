"""CSRCleaner: deletes requests for certificates that have had their time."""

from __future__ import annotations

from typing import ClassVar

from google.protobuf.message import Message

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from services.controller.cleaner import CleanerController
from services.controller.controllers.csrcleaner.decide import seconds_left


class CertificateCleanerController(CleanerController[certificates.CertificateSigningRequest]):
    name = "csrcleaner"
    cleaned: ClassVar[type[Message]] = certificates.CertificateSigningRequest

    def seconds_left(self, obj: certificates.CertificateSigningRequest) -> float:
        return seconds_left(obj, self.context.clock.now())

"""The cloud controller manager: between the cluster and whoever provides its machines and addresses.

While it leads it has a provider and the controllers that ask it; when it no longer leads it drops them all and begins anew when it leads
again, so nothing acts on what it remembers from before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import grpc.aio

from knarr.api.cloud.v1 import cloud_service_pb2, cloud_service_pb2_grpc, provider_pb2, provider_pb2_grpc
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.service.elected import ElectedComponent
from services.cloud.catalog import CONTROLLERS
from services.cloud.configuration import read_section
from services.cloud.controller import CloudController
from services.cloud.provider import ProviderType
from services.cloud.providers.catalog import provider_type
from services.cloud.servicer import CloudServicer, ProviderServicer
from services.cloud.settings import CloudSettings
from services.cloud.work import Work

LEASE = "knarr-cloud-controller-manager"


class CloudControllerManager(ElectedComponent):
    """ConfigurationError when there is no such provider, or it cannot do without settings."""

    name: ClassVar[str] = "cloud"

    def __init__(
        self,
        client: Client,
        settings: CloudSettings | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        kind: ProviderType | None = None,
        controllers: Sequence[type[CloudController]] = CONTROLLERS,
    ) -> None:
        """``kind``: a provider that is in no catalog."""
        self._settings = settings or CloudSettings()
        super().__init__(client, LEASE, self._settings.election, clock)
        self._clock = clock
        self._types = controllers
        self._kind = kind or provider_type(self._settings.provider)
        if self._settings.provider_settings is None:
            defaults = read_section(self._kind.settings, None, self._settings.provider) if kind is None else kind.settings()
            self._settings = replace(self._settings, provider_settings=defaults)
        self._work: Work | None = None

    def register(self, server: grpc.aio.Server) -> list[str]:
        def work() -> Work | None:
            return self._work

        cloud_service_pb2_grpc.add_CloudServiceServicer_to_server(CloudServicer(work, self._settings.provider), server)
        provider_pb2_grpc.add_CloudProviderServiceServicer_to_server(ProviderServicer(work), server)
        return [
            cloud_service_pb2.DESCRIPTOR.services_by_name["CloudService"].full_name,
            provider_pb2.DESCRIPTOR.services_by_name["CloudProviderService"].full_name,
        ]

    @property
    def working(self) -> bool:
        return self._work is not None and self._work.info is not None

    async def _lead(self) -> None:
        self._work = Work(self._client, self._settings, self._kind, self._clock, self._types, self._leadership.allow)
        try:
            await self._work.run()
        finally:
            self._work = None

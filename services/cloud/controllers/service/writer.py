"""Writes on a Service what the provider has answered. Each write names the revision it is based on: it never hits a namesake."""

from __future__ import annotations

from typing import Any

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.machinery import codec
from services.cloud.controllers.service.decide import FINALIZER, annotation_changes, has_finalizer


class ServiceWriter:
    """All methods answer the Service as it is then; StatusError (Conflict, NotFound) when it has changed or gone meanwhile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def add_finalizer(self, service: core.Service) -> core.Service:
        if has_finalizer(service):
            return service
        return await self._patch(service, {"metadata": {"finalizers": [*service.metadata.finalizers, FINALIZER]}})

    async def tell(self, service: core.Service, answer: cloud.LoadBalancer) -> core.Service:
        """Annotations first: whoever sees an address finds there what belongs to it."""
        annotations = annotation_changes(service, answer)
        if annotations:
            service = await self._patch(service, {"metadata": {"annotations": annotations}})
        if service.status.load_balancer != answer.status:
            service = await self._set_status(service, codec.to_dict(answer.status) or None)
        return service

    async def withdraw(self, service: core.Service, annotations: dict[str, str | None]) -> core.Service:
        """The status, then the rest, then the finalizer, which lets the Service go."""
        if service.status.load_balancer.ingress:
            service = await self._set_status(service, None)
        metadata: dict[str, Any] = {}
        if annotations:
            metadata["annotations"] = annotations
        if has_finalizer(service):
            metadata["finalizers"] = [name for name in service.metadata.finalizers if name != FINALIZER]
        return await self._patch(service, {"metadata": metadata}) if metadata else service

    async def _set_status(self, service: core.Service, status: Any) -> core.Service:
        return await self._patch(service, {"status": {"loadBalancer": status}}, subresource="status")

    async def _patch(self, service: core.Service, patch: dict[str, Any], subresource: str = "") -> core.Service:
        metadata = service.metadata
        patch.setdefault("metadata", {})["resourceVersion"] = metadata.resource_version
        return await self._client.patch(core.Service, metadata.name, metadata.namespace, patch=patch, subresource=subresource)

"""Services and their endpoints, followed from the first object that is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.client import Client
from knarr.client.index import Index
from knarr.client.informer import Informer
from knarr.objects.labels import SERVICE_NAME
from services.gateway.names import Names
from services.gateway.routing.actions import HTTP, Action, Server, Target
from services.gateway.sources import backends
from services.gateway.sources.compiled import Name


def _service_of(piece: discovery.EndpointSlice) -> Name:
    return piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME, "")


BY_SERVICE: Index[discovery.EndpointSlice] = Index("service", lambda piece: ["/".join(_service_of(piece))])


class Services:
    """``changed`` is told of a Service that is another one now, ``moved`` of one whose endpoints may be."""

    def __init__(self, client: Client, resolve_seconds: float, changed: Callable[[Name], None], moved: Callable[[Name], None]) -> None:
        self._changed, self._moved = changed, moved
        self._services = Informer(client, core.Service)
        self._slices = Informer(client, discovery.EndpointSlice)
        self._slices.add_index(BY_SERVICE)
        self._names = Names(resolve_seconds, self._name_changed)

    @property
    def synced(self) -> bool:
        return self._services.synced and self._slices.synced

    @property
    def away_since(self) -> datetime | None:
        """Since when the API server does not answer; None while it does."""
        found = (self._services.away_since, self._slices.away_since)
        return min((since for since in found if since is not None), default=None)

    async def begin(self, group: asyncio.TaskGroup) -> None:
        """Follows as long as the group runs; returns when all that is there is known."""
        for name, task in (("services", self._services.run()), ("slices", self._slices.run()), ("names", self._names.run())):
            group.create_task(task, name=f"gateway/{name}")
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        await self._services.wait_synced()
        await self._slices.wait_synced()

    def get(self, namespace: str, name: str) -> core.Service | None:
        return self._services.store.get(namespace, name)

    def problem_of(self, target: Target) -> str:
        """Why a target leads nowhere, whatever its endpoints, in words; empty when it may."""
        return backends.problem_of(self.get(target.namespace, target.service), target)

    def finished(self, action: Action) -> Action:
        """With what its Service says of how it is spoken to."""
        if action.choices:
            return replace(action, choices=tuple((weight, self.finished(choice)) for weight, choice in action.choices))
        target = next((share.target for share in action.targets if share.target is not None), None)
        if target is None:
            return action
        service, options = self.get(target.namespace, target.service), action.options
        if options.protocol == HTTP and (said := backends.protocol_of(service, target)):
            options = replace(options, protocol=said)
        if options.cookie is None and (seconds := backends.affinity_seconds(service)):
            options = replace(options, affinity_seconds=seconds)
        return replace(action, options=options) if options is not action.options else action

    def servers(self, target: Target) -> tuple[Server, ...]:
        service = self.get(target.namespace, target.service)
        if service is not None and service.spec.type == backends.EXTERNAL:
            number = int(target.port) if target.port.isdigit() else 0
            return tuple(Server(address, number) for address in self._names.addresses(service.spec.external_name)) if number else ()
        slices = self._slices.store.index(BY_SERVICE, f"{target.namespace}/{target.service}")
        return backends.servers_of(service, slices, target)

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        if old is not None and old.spec.external_name:
            # Names that no Service has any more are asked for no longer.
            self._names.only({service.spec.external_name for service in self._services.store.list()})
        if (found := new if new is not None else old) is not None:
            self._changed((found.metadata.namespace, found.metadata.name))

    def _slice_changed(self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None) -> None:
        for name in {_service_of(piece) for piece in (old, new) if piece is not None}:
            self._moved(name)

    def _name_changed(self, name: str) -> None:
        for service in self._services.store.list():
            if service.spec.external_name == name:
                self._moved((service.metadata.namespace, service.metadata.name))

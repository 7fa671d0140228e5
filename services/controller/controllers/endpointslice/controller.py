"""EndpointSlice: tells the proxies which pods are behind a Service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.keys import Key
from knarr.client.reconciler import Again
from knarr.machinery.errors import StatusError
from services.controller.backends import backends, selects
from services.controller.controllers.controller import Context, Controller
from services.controller.controllers.endpointslice.decide import MANAGED_BY_LABEL, MANAGER, SERVICE_LABEL, Plan, decide
from services.controller.expectations import Expectations, created, deleted
from services.controller.service_changes import candidates, watch_services_and_pods


class EndpointSliceController(Controller):
    name = "endpointslice"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._expectations = Expectations()
        self._services = context.informers.get(core.Service)
        self._pods = context.informers.get(core.Pod)
        self._slices = context.informers.get(discovery.EndpointSlice)
        self._slices.add_index("service", _service_index)
        watch_services_and_pods(context.informers, self.queue.enqueue)
        self._slices.on_change(self._slice_changed)

    def _slice_changed(self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None) -> None:
        for found in (old, new):
            owner = None if found is None else _service_key(found)
            if found is None or owner is None:
                continue
            if found is new:
                self._expectations.met(owner, created(found.metadata.name))
            if new is None:
                self._expectations.met(owner, deleted(found.metadata.uid))
            self.queue.enqueue(owner)

    async def reconcile(self, key: Key) -> Again | None:
        service = self._services.store.get(key.namespace, key.name)
        if service is None:
            self._expectations.forget(key)
            return None
        if not selects(service) or service.metadata.HasField("deletion_timestamp"):
            return None
        if self._expectations.open(key):
            # The event that is still to come enqueues the key; this is for the case that it is lost.
            return Again(1.0)
        found = self._slices.store.index("service", str(key))
        facts = backends(service, candidates(self._pods.store, service))
        await self._act(key, decide(service, facts, found))
        return None

    async def _act(self, key: Key, plan: Plan) -> None:
        work: list[Coroutine[Any, Any, None]] = [
            *(self._create(key, new) for new in plan.create),
            *(self._update(new) for new in plan.update),
            *(self._delete(key, old) for old in plan.delete),
        ]
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _create(self, key: Key, new: discovery.EndpointSlice) -> None:
        self._expectations.expect(key, created(new.metadata.name))
        try:
            await self.client.create(new)
        except BaseException:
            self._expectations.met(key, created(new.metadata.name))
            raise

    async def _update(self, new: discovery.EndpointSlice) -> None:
        await self.client.update(new)

    async def _delete(self, key: Key, old: discovery.EndpointSlice) -> None:
        self._expectations.expect(key, deleted(old.metadata.uid))
        try:
            await self.client.delete(discovery.EndpointSlice, old.metadata.name, old.metadata.namespace, uid=old.metadata.uid)
        except BaseException as error:
            self._expectations.met(key, deleted(old.metadata.uid))
            if not (isinstance(error, StatusError) and error.reason == "NotFound"):
                raise


def _service_key(found: discovery.EndpointSlice) -> Key | None:
    labels = found.metadata.labels
    if labels.get(MANAGED_BY_LABEL) != MANAGER or SERVICE_LABEL not in labels:
        return None
    return Key(found.metadata.namespace, labels[SERVICE_LABEL])


def _service_index(found: discovery.EndpointSlice) -> list[str]:
    key = _service_key(found)
    return [] if key is None else [str(key)]

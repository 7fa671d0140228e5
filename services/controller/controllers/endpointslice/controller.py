"""EndpointSlice: tells the proxies which pods are behind a Service."""

from __future__ import annotations

from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.reconciler import Again
from knarr.objects.keys import Key, is_deleting
from services.controller.controller import Context, Controller
from services.controller.controllers.endpointslice.decide import MANAGER, decide
from services.controller.endpoints.backends import KnownBackends, selects
from services.controller.endpoints.service_changes import candidates, watch_nodes, watch_services_and_pods
from services.controller.endpoints.slices import SliceWriter, by_service
from services.controller.endpoints.trigger_time import TriggerTimes
from services.controller.pace import Pace

BY_SERVICE = by_service("service", MANAGER)


class EndpointSliceController(Controller):
    name = "endpointslice"
    speaks_as = "endpoint-slice-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._writer = SliceWriter(self.client, MANAGER)
        self._backends, self._pace, self._triggers = KnownBackends(), Pace(), TriggerTimes()
        self._services, self._pods = watch_services_and_pods(self)
        self._nodes = watch_nodes(self)
        self._slices = self.hears(discovery.EndpointSlice, self._writer.saw, BY_SERVICE)

    async def reconcile(self, key: Key) -> Again | None:
        service = self._services.get(key.namespace, key.name)
        if service is None:
            for memory in (self._writer, self._backends, self._pace, self._triggers):
                memory.forget(key)
            return None
        if not selects(service) or is_deleting(service):
            return None
        if self._writer.is_behind(key):
            # The event that is still to come enqueues the key; this is for the case that it is lost.
            return Again(1.0)
        wait_seconds = self._pace.wait_seconds(key)
        if wait_seconds:
            return Again(wait_seconds)
        found = [piece for piece in self._slices.index(BY_SERVICE, str(key)) if not is_deleting(piece)]
        facts = self._backends.of(key, service, candidates(self._pods, service), lambda name: self._nodes.get("", name))
        trigger, seen = self._triggers.changed(key, service, facts)
        plan = decide(service, facts, found, trigger=trigger)
        if not plan.empty:
            self._pace.did(key)
            await self._writer.write(key, plan)
        self._triggers.wrote(key, seen)
        return None

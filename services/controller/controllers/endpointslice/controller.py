"""EndpointSlice: tells the proxies which pods are behind a Service."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.reconciler import Again
from knarr.objects.keys import Key
from services.controller.controller import Context, Controller
from services.controller.controllers.endpointslice.decide import MANAGER, decide
from services.controller.endpoints.backends import KnownBackends, selects
from services.controller.endpoints.pace import Pace
from services.controller.endpoints.service_changes import candidates, watch_nodes, watch_services_and_pods
from services.controller.endpoints.slices import SliceWriter, by_service
from services.controller.endpoints.trigger_time import TriggerTimes

BY_SERVICE = by_service("service", MANAGER)


class EndpointSliceController(Controller):
    name = "endpointslice"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services = context.informers.get(core.Service)
        self._pods = context.informers.get(core.Pod)
        self._nodes = context.informers.get(core.Node)
        self._slices = context.informers.get(discovery.EndpointSlice)
        self._slices.add_index(BY_SERVICE)
        self._writer = SliceWriter(self.client, MANAGER)
        self._backends, self._pace, self._triggers = KnownBackends(), Pace(), TriggerTimes()
        watch_services_and_pods(context.informers, self.queue.enqueue)
        watch_nodes(context.informers, self.queue.enqueue)
        self._slices.on_change(self._slice_changed)

    def _slice_changed(self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None) -> None:
        for key in self._writer.saw(old, new):
            self.queue.enqueue(key)

    async def reconcile(self, key: Key) -> Again | None:
        service = self._services.store.get(key.namespace, key.name)
        if service is None:
            for memory in (self._writer, self._backends, self._pace, self._triggers):
                memory.forget(key)
            return None
        if not selects(service) or service.metadata.HasField("deletion_timestamp"):
            return None
        if self._writer.is_behind(key):
            # The event that is still to come enqueues the key; this is for the case that it is lost.
            return Again(1.0)
        wait_seconds = self._pace.wait_seconds(key)
        if wait_seconds:
            return Again(wait_seconds)
        found = [piece for piece in self._slices.store.index(BY_SERVICE, str(key)) if not piece.metadata.HasField("deletion_timestamp")]
        facts = self._backends.of(key, service, candidates(self._pods.store, service), lambda name: self._nodes.store.get("", name))
        trigger, seen = self._triggers.changed(key, service, facts)
        plan = decide(service, facts, found, trigger=trigger)
        if not plan.empty:
            self._pace.wrote(key)
            await self._writer.write(key, plan)
        self._triggers.wrote(key, seen)
        return None

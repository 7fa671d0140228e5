"""EndpointSliceMirroring: proxies and DNS read slices only, so Endpoints kept by hand are mirrored into them."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.events import WARNING
from knarr.client.reconciler import Again
from knarr.objects.keys import Key, is_deleting
from services.controller.controller import Context, Controller
from services.controller.controllers.endpointslicemirroring.decide import MANAGER, MAX_ADDRESSES, decide, is_mirrored, skipped
from services.controller.endpoints.slices import Plan, SliceWriter, by_service
from services.controller.pace import Pace

BY_MIRRORED = by_service("mirrored", MANAGER)


class EndpointSliceMirroringController(Controller):
    name = "endpointslicemirroring"
    speaks_as = "endpoint-slice-mirroring-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._writer, self._pace = SliceWriter(self.client, MANAGER), Pace()
        self._services = self.watches(core.Service)
        self._endpoints = self.watches(core.Endpoints)
        self._slices = self.hears(discovery.EndpointSlice, self._writer.saw, BY_MIRRORED)

    async def reconcile(self, key: Key) -> Again | None:
        service = self._services.get(key.namespace, key.name)
        endpoints = self._endpoints.get(key.namespace, key.name)
        found = [piece for piece in self._slices.index(BY_MIRRORED, str(key)) if not is_deleting(piece)]
        if service is None and endpoints is None and not found:
            self._writer.forget(key)
            self._pace.forget(key)
            return None
        if self._writer.is_behind(key):
            return Again(1.0)
        wait_seconds = self._pace.wait_seconds(key)
        if wait_seconds:
            return Again(wait_seconds)
        if endpoints is None or not is_mirrored(service, endpoints):
            plan = Plan(delete=found)
        else:
            plan = decide(endpoints, found)
            self._tell(endpoints, plan)
        if not plan.empty:
            self._pace.did(key)
            await self._writer.write(key, plan)
        return None

    def _tell(self, endpoints: core.Endpoints, plan: Plan) -> None:
        left = skipped(endpoints)
        if left and not plan.empty:
            limit = f"A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset"
            self.recorder.event(endpoints, WARNING, "TooManyAddressesToMirror", f"{limit}. {left} addresses were skipped")

"""Keeps the zone as the API's objects are: changes are taken together, a few hundredths of a second late."""

from __future__ import annotations

import asyncio
import logging
import time

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.client import Client
from knarr.client.index import Index
from knarr.client.informer import Informer
from knarr.objects.endpoints import takes_connections
from knarr.objects.keys import Key, key_of
from knarr.objects.labels import SERVICE_NAME
from services.dns import metrics
from services.dns.query.responder import Responder
from services.dns.zone.build import HEADLESS
from services.dns.zone.zone import Zone

log = logging.getLogger(__name__)

# After the first of several changes, and at most where taking them takes long itself: then it may have a fifth of the time.
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.01, 0.06
DELAY_PER_WORK = 4.0


def _service_of(piece: discovery.EndpointSlice) -> Key:
    return Key(piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME, ""))


BY_SERVICE: Index[discovery.EndpointSlice] = Index("service", lambda piece: [str(_service_of(piece))])


class Follower:
    """Feeds the zone and tells the responder what changed."""

    def __init__(self, client: Client, zone: Zone, responder: Responder) -> None:
        self._zone = zone
        self._responder = responder
        self.services = Informer(client, core.Service)
        self.slices = Informer(client, discovery.EndpointSlice)
        self.namespaces = Informer(client, core.Namespace)
        self.slices.add_index(BY_SERVICE)
        self._changed: set[Key] = set()
        self._delay = FIRST_DELAY_SECONDS
        self._timer: asyncio.TimerHandle | None = None

    def notes(self, name: str) -> list[str]:
        """What its records do not say of the Service that a name belongs to, in words."""
        labels = name.removesuffix(f".svc.{self._zone.domain}").split(".")
        if len(labels) < 2 or not name.endswith(f".svc.{self._zone.domain}"):
            return []
        service = self.services.store.get(labels[-1], labels[-2])
        if service is None:
            return []
        pieces = self.slices.store.index(BY_SERVICE, f"{labels[-1]}/{labels[-2]}")
        endpoints = [endpoint for piece in pieces for endpoint in piece.endpoints]
        ready = sum(map(takes_connections, endpoints))
        found = [f"Service {labels[-1]}/{labels[-2]} has {ready} ready endpoints of {len(endpoints)}"]
        if service.spec.cluster_ip == HEADLESS and service.spec.publish_not_ready_addresses:
            found.append("publishNotReadyAddresses: those that are not ready have names, too")
        return found

    async def run(self) -> None:
        """Fills the zone once it is all there, then follows; until cancelled. The informers are run by others."""
        for informer in (self.services, self.slices, self.namespaces):
            await informer.wait_synced()
        self.namespaces.on_change(self._namespace_changed)
        self.services.on_change(self._service_changed)
        self.slices.on_change(self._slice_changed)
        self._take()
        self._responder.synced = True
        try:
            await asyncio.Event().wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _namespace_changed(self, old: core.Namespace | None, new: core.Namespace | None) -> None:
        found = new if new is not None else old
        if found is not None and self._zone.put_namespace(found.metadata.name, exists=new is not None):
            self._responder.changed_below(*(f"{found.metadata.name}.{above}.{self._zone.domain}" for above in ("svc", "pod")))

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        self._touch(*(key_of(service) for service in (old, new) if service is not None))

    def _slice_changed(self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None) -> None:
        self._touch(*(_service_of(piece) for piece in (old, new) if piece is not None))

    def _touch(self, *keys: Key) -> None:
        self._changed.update(keys)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._take)

    def _take(self) -> None:
        """Takes what changed into the zone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        started = time.perf_counter()
        changed, self._changed = self._changed, set()
        for key in changed:
            self._take_service(key)
        seconds = time.perf_counter() - started
        self._delay = min(max(FIRST_DELAY_SECONDS, seconds * DELAY_PER_WORK), LONGEST_DELAY_SECONDS)
        metrics.CHANGE_SECONDS.observe(seconds)
        metrics.NAMES.set(self._zone.names)

    def _take_service(self, key: Key) -> None:
        service = self.services.store.get(*key)
        try:
            touched = self._zone.put_service(*key, service, self.slices.store.index(BY_SERVICE, str(key)))
        except Exception:
            # It keeps the names it had; those of all others are served.
            log.exception("the names of a Service could not be made", extra={"service": str(key)})
            return
        self._responder.changed(touched)

"""Endpoints: keeps the older form of a Service's endpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import NotFound
from knarr.objects.keys import Key, is_deleting, key_of
from services.controller.controller import Context, Controller
from services.controller.controllers.endpoints.decide import decide
from services.controller.endpoints.backends import KnownBackends, selects
from services.controller.endpoints.labels import ENDPOINTS_MANAGED_BY, ENDPOINTS_MANAGER
from services.controller.endpoints.service_changes import candidates, watch_services_and_pods
from services.controller.endpoints.trigger_time import TriggerTimes, stamp
from services.controller.pace import Pace


class EndpointsController(Controller):
    name = "endpoints"
    speaks_as = "endpoint-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._backends, self._pace, self._triggers = KnownBackends(), Pace(), TriggerTimes()
        # Services that were seen to go: their Endpoints go too, whoever made them.
        self._gone: set[Key] = set()
        # What was written last, until the informer shows it.
        self._written: dict[Key, core.Endpoints] = {}
        self.hears(core.Service, self._note_gone)
        self._services, self._pods = watch_services_and_pods(self)
        self._endpoints = self.hears(core.Endpoints, self._endpoints_changed)

    def _note_gone(self, old: core.Service | None, new: core.Service | None) -> Iterable[Key]:
        if new is not None:
            self._gone.discard(key_of(new))
        elif old is not None:
            self._gone.add(key_of(old))
        return ()

    def _endpoints_changed(self, old: core.Endpoints | None, new: core.Endpoints | None) -> Iterator[Key]:
        """What others changed; our own write is no news."""
        changed = new if new is not None else old
        if changed is None:
            return
        key = key_of(changed)
        written = self._written.pop(key, None)
        if new is None or written is None or written.subsets != new.subsets or written.metadata.labels != new.metadata.labels:
            yield key

    async def reconcile(self, key: Key) -> Again | None:
        service = self._services.get(key.namespace, key.name)
        found = self._endpoints.get(key.namespace, key.name)
        if service is None:
            for memory in (self._backends, self._pace, self._triggers):
                memory.forget(key)
            if found is not None and (key in self._gone or found.metadata.labels.get(ENDPOINTS_MANAGED_BY) == ENDPOINTS_MANAGER):
                await self._delete(found)
            self._gone.discard(key)
            return None
        if not selects(service) or is_deleting(service):
            return None
        wait_seconds = self._pace.wait_seconds(key)
        if wait_seconds:
            return Again(wait_seconds)
        facts = self._backends.of(key, service, candidates(self._pods, service))
        trigger, seen = self._triggers.changed(key, service, facts)
        wanted = decide(service, facts, found)
        if wanted != found:
            self._pace.did(key)
            stamp(wanted, trigger)
            await self._write(key, wanted, is_new=found is None)
        self._triggers.wrote(key, seen)
        return None

    async def _write(self, key: Key, wanted: core.Endpoints, *, is_new: bool) -> None:
        self._written[key] = wanted
        try:
            await (self.client.create(wanted) if is_new else self.client.update(wanted))
        except BaseException:
            self._written.pop(key, None)
            raise

    async def _delete(self, found: core.Endpoints) -> None:
        with contextlib.suppress(NotFound):
            await self.client.delete(core.Endpoints, found.metadata.name, found.metadata.namespace, uid=found.metadata.uid)

"""Keeps an APIService for each group version that this server serves itself, as Kubernetes does; nothing is answered by them.

Those of built-in groups are made when they are missing, and their spec is mended when a server starts: people may give a group version to
another server, and it stays so until then. Those of definitions come and go with what is defined, and stay as they are. Of one that
somebody else made, or that has lost its label, the hands are kept off.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.machinery.resources import Registry, Resource
from knarr.objects.copies import copy_of
from services.apiserver.aggregation.priorities import CUSTOM, built_in
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.entry import Entry

log = logging.getLogger(__name__)

API_SERVICE = version_of(apiregistration.APIService)
LABEL, ON_START, ALWAYS = "kube-aggregator.kubernetes.io/automanaged", "onstart", "true"
# Groups that people often have another server for: whoever gives one to it has given it for good.
YIELDED = frozenset(("metrics.k8s.io",))
RETRY = Backoff(first_seconds=0.5, limit_seconds=30.0)
LOOK_SECONDS = 60.0


class LocalServices:
    """``make`` at the start, ``run`` once, until cancelled."""

    def __init__(self, client: Client, registry: Registry, cache: WatchCache) -> None:
        self._client, self._registry, self._cache = client, registry, cache
        # What was in order once; of built-in groups nothing is mended afterwards.
        self._settled: set[str] = set()
        self._changed = asyncio.Event()
        registry.subscribe(self._see)

    def _see(self, old: Resource | None, new: Resource | None) -> None:
        self._changed.set()

    def wanted(self) -> dict[str, apiregistration.APIService]:
        """By name."""
        found: dict[str, apiregistration.APIService] = {}
        for version in self._registry.versions:
            name = f"{version.version}.{version.group}"
            if name not in found:
                found[name] = _local(name, version.group, version.version, custom=not version.form.has_message)
        return found

    async def make(self) -> None:
        """Makes those that are missing. Raises StatusError."""
        if API_SERVICE.resource in self._registry:
            await self._keep()

    async def run(self) -> None:
        if API_SERVICE.resource not in self._registry:
            return
        collection = self._cache.collection(API_SERVICE.resource)
        failures = 0
        while True:
            self._changed.clear()
            seen = collection.history.end
            try:
                await self._keep()
                failures = 0
            except StatusError as error:
                failures += 1
                log.warning("local APIServices cannot be kept up, trying again: %s", error.status.message)
                await asyncio.sleep(RETRY.delay(failures))
                continue
            if collection.history.end == seen and not self._changed.is_set():
                await self._news()

    async def _news(self) -> None:
        """Until what is served changes, or somebody writes an APIService."""
        waiting = [
            asyncio.create_task(self._changed.wait(), name="apiserver/local apiservices served"),
            asyncio.create_task(
                self._cache.collection(API_SERVICE.resource).changed(LOOK_SECONDS), name="apiserver/local apiservices written"
            ),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _keep(self) -> None:
        wanted = self.wanted()
        present = {entry.name: entry.shared_message for entry in self._entries()}
        made = [self._make(service) for name, service in wanted.items() if name not in present and self._is_kept(service)]
        mended = [
            self._mend(present[name], service)
            for name, service in wanted.items()
            if name in present and self._is_kept(service) and LABEL in present[name].metadata.labels and present[name].spec != service.spec
        ]
        gone = [self._remove(stored) for name, stored in present.items() if name not in wanted and _goes(stored)]
        # All at once: a new cluster has some thirty to make, and waits for them.
        await asyncio.gather(*made, *mended, *gone)
        self._settled = set(wanted)

    def _is_kept(self, service: apiregistration.APIService) -> bool:
        """Whether it is looked after: that of a definition always, a built-in one until it was in order once."""
        return service.metadata.labels.get(LABEL) == ALWAYS or service.metadata.name not in self._settled

    def _entries(self) -> list[Entry]:
        resource = API_SERVICE.resource
        return list(self._cache.collection(resource).listing(resource.key_prefix))

    async def _make(self, service: apiregistration.APIService) -> None:
        with suppress(AlreadyExists):  # another API server was faster
            await self._client.create(service)

    async def _mend(self, stored: apiregistration.APIService, wanted: apiregistration.APIService) -> None:
        changed = copy_of(stored)
        changed.spec.CopyFrom(wanted.spec)
        with suppress(Conflict, NotFound):
            await self._client.update(changed)

    async def _remove(self, stored: apiregistration.APIService) -> None:
        with suppress(Conflict, NotFound):
            await self._client.delete(apiregistration.APIService, stored.metadata.name, uid=stored.metadata.uid)


def _goes(service: apiregistration.APIService) -> bool:
    """Whether that of a group version which is served no more is removed: what a definition defined, or what was switched off here."""
    return service.metadata.labels.get(LABEL) == ALWAYS or (service.spec.group in YIELDED and not service.spec.HasField("service"))


def _local(name: str, group: str, version: str, *, custom: bool) -> apiregistration.APIService:
    made = apiregistration.APIService(metadata=meta.ObjectMeta(name=name))
    if group not in YIELDED:
        made.metadata.labels[LABEL] = ALWAYS if custom else ON_START
    priority = CUSTOM if custom else built_in(group, version)
    spec = made.spec
    spec.group, spec.version = group, version
    spec.group_priority_minimum, spec.version_priority = priority
    return made

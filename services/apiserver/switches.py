"""Serves what is built in and may be switched off (``knarr.objects.built_ins``) as long as it is on.

Each API server follows the ConfigMap in its own cache: a start serves nothing that is off, and a change holds for the next request.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import metrics, version_of
from knarr.machinery.resources import Registry
from knarr.objects.built_ins import METRICS, NAME, NAMESPACE, is_off
from services.apiserver.cache.watch_cache import WatchCache

SWITCHES = version_of(core.ConfigMap).resource
LOOK_SECONDS = 60.0


class Switches:
    """``load`` when the cache is loaded; ``run`` once, until cancelled."""

    def __init__(self, registry: Registry, cache: WatchCache) -> None:
        self._registry, self._cache = registry, cache
        # Who serves a part of it only serves that part.
        self._metrics = [resource for resource in metrics.RESOURCES if resource in registry]

    def load(self) -> None:
        """Takes over at once what the cache knows. Synchronous: nobody is answered before."""
        if SWITCHES not in self._registry:
            return
        entry = self._cache.get(SWITCHES, NAMESPACE, NAME)
        off = is_off(entry.shared_message if entry is not None else None, METRICS)
        for resource in self._metrics:
            if off and resource in self._registry:
                self._registry.remove(resource)
            elif not off and resource not in self._registry:
                self._registry.add(resource)

    async def run(self) -> None:
        if SWITCHES not in self._registry:
            return
        collection = self._cache.collection(SWITCHES)
        while True:
            seen = collection.history.end
            self.load()
            if collection.history.end == seen:
                await collection.changed(LOOK_SECONDS)

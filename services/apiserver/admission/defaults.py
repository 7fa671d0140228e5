"""Which of the classes of a kind is the default one."""

from __future__ import annotations

from knarr.machinery.resources import Resource
from knarr.objects import volumes
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.storage.keys import collection_prefix


def default_of(cache: WatchCache, classes: Resource, *annotations: str) -> str:
    """The name of the class that one of the annotations says it of; empty when there is none."""
    collection = cache.collection(classes)
    found = (entry.shared_message.metadata for entry in collection.listing(collection_prefix(classes)))
    return volumes.default_of(found, *annotations)

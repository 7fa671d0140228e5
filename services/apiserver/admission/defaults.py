"""Which of the classes of a kind is the default one."""

from __future__ import annotations

from knarr.machinery.resources import Resource
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.storage.keys import collection_prefix


def default_of(cache: WatchCache, classes: Resource, *annotations: str) -> str:
    """The name of the class that one of the annotations says it of: the youngest, and of these the first by name; empty when there is
    none."""
    collection = cache.collection(classes)
    marked = [
        entry.shared_message.metadata
        for entry in collection.listing(collection_prefix(classes))
        if any(entry.shared_message.metadata.annotations.get(annotation) == "true" for annotation in annotations)
    ]
    youngest = sorted(marked, key=lambda found: (-found.creation_timestamp.seconds, found.name))
    return str(youngest[0].name) if youngest else ""

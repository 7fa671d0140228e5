"""What is stored, made entries part by part while it is read: all at once would hold the loop for seconds where there is much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from knarr.machinery.resources import Registry
from services.apiserver.entry import Entry
from services.apiserver.storage.store import KeyValue


class Entries(Protocol):
    """What makes entries: the cache that will take them."""

    registry: Registry

    def entry(self, item: KeyValue) -> Entry | None: ...

    def knows(self, key: str) -> bool: ...


class Loading:
    """``entries`` by the prefix of their resource's keys, in the order in which they were added; ``unread`` are the keys of those that
    cannot be read. ``resources`` are those that were served when it began: of others a part may be missing."""

    def __init__(self, cache: Entries) -> None:
        self._cache = cache
        self.resources = frozenset(cache.registry)
        self.entries: dict[str, list[Entry]] = {}
        self.unread: set[str] = set()
        self.newest: KeyValue | None = None
        self.count = 0

    def add(self, items: Iterable[KeyValue]) -> None:
        """Takes a part of what is stored."""
        for item in items:
            self.count += 1
            if self.newest is None or item.revision > self.newest.revision:
                self.newest = item
            entry = self._cache.entry(item)
            if entry is not None:
                self.entries.setdefault(entry.version.resource.key_prefix, []).append(entry)
            elif self._cache.knows(item.key):
                self.unread.add(item.key)

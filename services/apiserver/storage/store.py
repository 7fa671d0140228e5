"""The store port: guarded transactions, ranges at a revision and one ordered stream of changes.

``storage.etcd`` is the real one, ``storage.memory`` one that ends with its process; both pass the same checks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol


class KeyValue(NamedTuple):
    """A stored value; ``revision`` is that of its last change."""

    key: str
    value: bytes
    revision: int


class Put(NamedTuple):
    """A value to store; with ``ttl_seconds`` it vanishes that long after its last write."""

    key: str
    value: bytes
    ttl_seconds: int = 0


class Transaction(NamedTuple):
    """All or nothing. ``guards`` maps keys to the revision they must have; 0 means absent."""

    guards: Mapping[str, int]
    puts: Sequence[Put] = ()
    deletes: Sequence[str] = ()


# What no guard found.
NOTHING: Mapping[str, KeyValue] = MappingProxyType({})


class Outcome(NamedTuple):
    """``current`` holds the guarded keys that exist, read in the same instant, when a guard failed."""

    succeeded: bool
    revision: int
    current: Mapping[str, KeyValue] = NOTHING


@dataclass(frozen=True, slots=True)
class RangePage:
    """Values in key order. ``count`` is the number of keys from the page's start to the range's end."""

    items: Sequence[KeyValue]
    revision: int
    more: bool
    count: int


class Change(NamedTuple):
    """A key's new value, or None when it was deleted."""

    key: str
    value: bytes | None
    revision: int


class Batch(NamedTuple):
    """Changes in order; afterwards everything up to ``revision`` has been seen."""

    changes: Sequence[Change]
    revision: int


class Compacted(Exception):
    """The revision asked for is no longer kept; ``oldest`` is."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the store keeps nothing older than revision {oldest}")
        self.oldest = oldest


class FutureRevision(Exception):
    """The revision asked for is not reached yet."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the store has not reached revision {revision}")
        self.revision = revision


class HistoryLost(Exception):
    """The store is another than the one that was read from before: it was restored from a backup or emptied."""


class PageTooLarge(Exception):
    """A range is larger than one answer can be; ask for fewer keys."""


class Store(Protocol):
    """Every method raises StatusError ServiceUnavailable or Timeout when the store is away.

    ``world`` rises when an answer shows that the store is another one than before: restored from a backup, or emptied.
    """

    @property
    def world(self) -> int: ...

    async def get(self, key: str) -> KeyValue | None: ...

    async def range(self, prefix: str, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
        """Keys that begin with ``prefix``, from ``start`` on, as of ``revision`` (0: now).

        Raises Compacted, FutureRevision, PageTooLarge.
        """
        ...

    async def commit(self, transaction: Transaction) -> Outcome:
        """Carries the transaction out once at most. ServiceUnavailable says that it was not; after Timeout that is not known."""
        ...

    async def newest_revision(self) -> int:
        """The present revision: no write that was answered before this call is newer."""
        ...

    def watch(self, prefix: str, revision: int, after: Change | None = None) -> AsyncIterator[Batch]:
        """Changes from ``revision`` on; ends when the stream breaks. ``after`` is the last change that is known before it.

        The first batch is empty and comes as soon as the store has taken up the watch. Raises Compacted; HistoryLost when the store
        has not come to ``revision - 1``, or does not know ``after``.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forgets everything that was overwritten before ``revision``. Raises Compacted when that was done before, FutureRevision."""
        ...

    async def trouble(self) -> str:
        """What keeps the store from taking writes, and the way back; empty when nothing does."""
        ...

    async def close(self) -> None:
        """Ends the store's connections; nothing is asked of it afterwards."""
        ...

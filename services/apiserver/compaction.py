"""Compaction of etcd: what was overwritten is kept for one period at least, two at most.

Several API servers agree through one key, as kube-apiserver's do: whoever first sees the period
over moves the key on and compacts to the revision that the key held before.
"""

from __future__ import annotations

import asyncio
import logging

from knarr.machinery.errors import StatusError
from services.apiserver.storage.store import Compacted, FutureRevision, Put, Store, Transaction

log = logging.getLogger(__name__)

KEY = "compact_rev_key"


class Compactor:
    """Runs until cancelled."""

    def __init__(self, store: Store, period_seconds: float) -> None:
        self._store = store
        self._period_seconds = period_seconds
        self._known = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._period_seconds)
            try:
                await self.compact_once()
            except (StatusError, Compacted, FutureRevision) as error:
                log.warning("etcd was not compacted, trying again later", extra={"reason": str(error)})

    async def compact_once(self) -> int:
        """One round; answers the revision compacted to, 0 when there was none."""
        item = await self._store.get(KEY)
        key_revision = item.revision if item else 0
        if key_revision != self._known:
            self._known = key_revision  # another server's round, or our first: wait a whole period
            if key_revision:
                return 0
        previous = item.revision if item else 0
        outcome = await self._store.commit(Transaction({KEY: key_revision}, [Put(KEY, str(previous).encode())]))
        if not outcome.succeeded:
            return 0
        self._known = outcome.revision
        if previous:
            await self._store.compact(previous)
            log.info("etcd is compacted", extra={"revision": previous})
        return previous

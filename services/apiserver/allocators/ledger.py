"""The stored record of what is taken from one range, changed only together with its holder.

The record is one key; every change is guarded by its revision, so that API servers which share
an etcd cannot give one number twice.
"""

from __future__ import annotations

from collections.abc import Set

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import envelope
from knarr.machinery.errors import internal
from services.apiserver.allocators.numbers import NumberRange
from services.apiserver.backend import NO_EXTRA, Extra
from services.apiserver.storage.store import Put, Store


class Ledger:
    """What is taken from ``numbers``, as recorded under ``key``.

    The last record is kept decoded: mostly the next one to be read is the one written last.
    """

    def __init__(self, store: Store, key: str, numbers: NumberRange) -> None:
        self._store, self.key, self.numbers = store, key, numbers
        self._data, self._taken = b"", frozenset[int]()

    async def read(self) -> tuple[frozenset[int], int]:
        """The taken numbers and the revision of the record; raises InternalError when the range is another."""
        item = await self._store.get(self.key)
        if item is None:
            return frozenset(), 0
        record = core.RangeAllocation.FromString(envelope.unwrap(item.value).raw)
        if record.range != str(self.numbers):
            raise internal(f"{self.key} records the range {record.range}, but this server is set to {self.numbers}")
        if record.data != self._data:
            self._data, self._taken = record.data, frozenset(self.numbers.decode(record.data))
        return self._taken, item.revision

    def change(self, taken: Set[int], revision: int) -> Extra:
        """What to add to a transaction so that exactly ``taken`` is recorded, if nobody was faster."""
        self._data, self._taken = self.numbers.flip(self._data, self._taken ^ taken), frozenset(taken)
        record = core.RangeAllocation(range=str(self.numbers), data=self._data)
        return Extra({self.key: revision}, [Put(self.key, envelope.wrap("v1", "RangeAllocation", record.SerializeToString()))])

    async def give_back(self, numbers: Set[int]) -> Extra:
        if not numbers:
            return NO_EXTRA
        taken, revision = await self.read()
        return self.change(taken - numbers, revision)

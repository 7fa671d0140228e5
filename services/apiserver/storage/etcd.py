"""etcd as the store, through etcd's own messages and stubs (see docs/decisions/etcd-client.md).

Every call is bounded by ``timeout_seconds`` and waits that long at most for a connection. Reads
and guarded writes are safe to send once; nothing is retried here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from aetcd import rpc

from knarr.machinery.errors import StatusError, status_error
from services.apiserver.metrics import store_timer
from services.apiserver.storage import connection
from services.apiserver.storage.keys import range_end
from services.apiserver.storage.leases import Leases
from services.apiserver.storage.store import Batch, Change, Compacted, HistoryLost, KeyValue, Outcome, RangePage, Transaction

log = logging.getLogger(__name__)

COMPACTED_DETAIL = "required revision has been compacted"
LEASE_UNKNOWN_DETAIL = "requested lease not found"
EQUAL, MOD = rpc.Compare.EQUAL, rpc.Compare.MOD


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """``endpoints`` are ``host:port``. ``timeout_seconds`` bounds each call, connecting included."""

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    tls: connection.EtcdTls | None = None
    timeout_seconds: float = 5.0


def _key_value(kv: Any) -> KeyValue:
    return KeyValue(kv.key.decode(), kv.value, kv.mod_revision)


class EtcdStore:
    """A ``Store`` on one channel. Made inside a running event loop; ``close`` ends it."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._channel = connection.connect(settings.endpoints, settings.tls)
        self._kv = rpc.KVStub(self._channel)
        self._watch = rpc.WatchStub(self._channel)
        self._leases = Leases(rpc.LeaseStub(self._channel), self._call)

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, operation: str, method: Any, request: Any) -> Any:
        started = time.perf_counter()
        try:
            return await method(request, timeout=self._settings.timeout_seconds, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise connection.store_error(error, self._settings.endpoints) from error
        finally:
            store_timer(operation).observe(time.perf_counter() - started)

    async def get(self, key: str) -> KeyValue | None:
        answer = await self._call("get", self._kv.Range, rpc.RangeRequest(key=key.encode()))
        return _key_value(answer.kvs[0]) if answer.kvs else None

    async def range(self, prefix: str, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
        request = rpc.RangeRequest(key=(start or prefix).encode(), range_end=range_end(prefix), revision=revision, limit=limit)
        try:
            answer = await self._call("range", self._kv.Range, request)
        except StatusError as error:
            if COMPACTED_DETAIL in error.status.message:
                raise Compacted(0) from error
            raise
        return RangePage([_key_value(kv) for kv in answer.kvs], answer.header.revision, answer.more, answer.count)

    async def commit(self, transaction: Transaction) -> Outcome:
        request = rpc.TxnRequest()
        for key, revision in transaction.guards.items():
            raw = key.encode()
            request.compare.add(result=EQUAL, target=MOD, key=raw, mod_revision=revision)
            request.failure.add().request_range.key = raw
        for put in transaction.puts:
            lease = await self._leases.of(put.ttl_seconds) if put.ttl_seconds else 0
            operation = request.success.add().request_put
            operation.key, operation.value, operation.lease = put.key.encode(), put.value, lease
        for key in transaction.deletes:
            request.success.add().request_delete_range.key = key.encode()
        answer = await self._transact(request)
        if answer is None:  # the lease that a put names is gone: etcd was emptied or restored
            self._leases.forget()
            return await self.commit(transaction)
        if answer.succeeded:
            return Outcome(True, answer.header.revision)
        found = (kv for response in answer.responses for kv in response.response_range.kvs)
        return Outcome(False, answer.header.revision, {kv.key.decode(): _key_value(kv) for kv in found})

    async def _transact(self, request: Any) -> Any:
        """The answer; None when a lease of the request is unknown."""
        try:
            return await self._call("txn", self._kv.Txn, request)
        except StatusError as error:
            if LEASE_UNKNOWN_DETAIL in error.status.message and self._leases.any:
                return None
            raise

    async def compact(self, revision: int) -> None:
        await self._call("compact", self._kv.Compact, rpc.CompactionRequest(revision=revision))

    async def watch(self, prefix: str, revision: int) -> AsyncIterator[Batch]:
        create = rpc.WatchCreateRequest(
            key=prefix.encode(), range_end=range_end(prefix), start_revision=revision, progress_notify=True, fragment=True
        )
        stream = self._watch.Watch(wait_for_ready=True)
        try:
            await stream.write(rpc.WatchRequest(create_request=create))
            pending: list[Change] = []
            async for answer in stream:
                _refuse_broken(answer, revision)
                pending += _changes(answer.events)
                if answer.fragment or answer.created:
                    continue
                yield Batch(pending, pending[-1].revision if pending else answer.header.revision)
                pending = []
        except grpc.aio.AioRpcError as error:
            raise connection.store_error(error, self._settings.endpoints) from error
        except asyncio.InvalidStateError as error:
            raise status_error("ServiceUnavailable", "the watch stream of etcd broke before it began") from error
        finally:
            stream.cancel()


def _changes(events: Sequence[Any]) -> list[Change]:
    deleted = rpc.Event.DELETE
    return [Change(e.kv.key.decode(), None if e.type == deleted else e.kv.value, e.kv.mod_revision) for e in events]


def _refuse_broken(answer: Any, revision: int) -> None:
    """Raises what a watch response says went wrong. ``revision`` is where the watch began."""
    if answer.compact_revision:
        raise Compacted(answer.compact_revision)
    if answer.canceled:
        raise status_error("ServiceUnavailable", f"etcd ended the watch: {answer.cancel_reason or 'no reason given'}")
    if answer.created and answer.header.revision < revision - 1:
        raise HistoryLost(f"etcd is at revision {answer.header.revision}, but {revision - 1} was read from it before")

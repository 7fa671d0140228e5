"""etcd as the store, through etcd's own messages and stubs (see docs/decisions/etcd-client.md).

Every call is bounded by ``timeout_seconds``, connecting included. Within it a call that a member failed is sent
again, to another one: reads may be, and a guarded transaction shows by what it finds whether it was stored before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
from aetcd import rpc

from knarr.machinery.errors import StatusError, status_error
from services.apiserver.metrics import store_timer
from services.apiserver.storage import connection
from services.apiserver.storage.keys import range_end
from services.apiserver.storage.leases import Leases
from services.apiserver.storage.members import Member, Members
from services.apiserver.storage.store import (
    Batch,
    Change,
    Compacted,
    FutureRevision,
    HistoryLost,
    KeyValue,
    Outcome,
    RangePage,
    Transaction,
)

log = logging.getLogger(__name__)

COMPACTED_DETAIL = "required revision has been compacted"
FUTURE_DETAIL = "required revision is a future revision"
LEASE_UNKNOWN_DETAIL = "requested lease not found"
# No object has this key; as both ends of a range it means all keys.
NO_KEY = b"\0"
PROPOSAL_DROPPED_DETAIL = "raft proposal dropped"
EQUAL, MOD = rpc.Compare.EQUAL, rpc.Compare.MOD
# Between two attempts of one call.
PAUSE_SECONDS = 0.05
# A member that is cut off from the others says so at once, instead of waiting for them.
HAS_LEADER = (("hasleader", "true"),)


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """``endpoints`` are ``host:port``, one for each member. ``timeout_seconds`` bounds each call, connecting included;
    ``attempt_seconds`` is what one member of several gets for its answer."""

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    tls: connection.EtcdTls | None = None
    timeout_seconds: float = 5.0
    attempt_seconds: float = 1.5


class Answered(NamedTuple):
    """An answer, and whether an attempt before it may have been carried out too."""

    answer: Any
    repeated: bool


# The method of a member that a call is about.
Method = Callable[[Member], Any]


def _key_value(kv: Any) -> KeyValue:
    return KeyValue(kv.key.decode(), kv.value, kv.mod_revision)


class EtcdStore:
    """A ``Store`` on the members of one etcd. Made inside a running event loop; ``close`` ends it."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._members = Members(settings.endpoints, settings.tls)
        self._metadata = HAS_LEADER if self._members.several else None
        self._leases = Leases(self._call)
        # Etcd's name for itself, 0 before the first watch: one that was restored has another.
        self._cluster_id = 0

    async def close(self) -> None:
        await self._members.close()

    async def _call(self, operation: str, method: Method, request: Any) -> Any:
        return (await self._attempt(operation, method, request)).answer

    async def _attempt(self, operation: str, method: Method, request: Any) -> Answered:
        """Asks one member after the other until one answers or the time is over."""
        settings, loop = self._settings, asyncio.get_running_loop()
        started, repeated = time.perf_counter(), False
        end = loop.time() + settings.timeout_seconds
        try:
            while True:
                member = await self._members.choose(end - loop.time())
                left = max(end - loop.time(), 0.0)
                seconds = min(left, settings.attempt_seconds) if self._members.several else left
                try:
                    call = method(member)(request, timeout=seconds, wait_for_ready=True, metadata=self._metadata)
                    return Answered(await call, repeated)
                except grpc.aio.AioRpcError as error:
                    if not _passes(error):
                        raise connection.store_error(error, settings.endpoints) from error
                    self._members.failed(member)
                    if end - loop.time() <= PAUSE_SECONDS:
                        raise connection.store_error(error, settings.endpoints) from error
                repeated = True
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            store_timer(operation).observe(time.perf_counter() - started)

    async def get(self, key: str) -> KeyValue | None:
        answer = await self._call("get", _range, rpc.RangeRequest(key=key.encode()))
        return _key_value(answer.kvs[0]) if answer.kvs else None

    async def range(self, prefix: str, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
        request = rpc.RangeRequest(key=(start or prefix).encode(), range_end=range_end(prefix), revision=revision, limit=limit)
        with _revision_held(revision):
            answer = await self._call("range", _range, request)
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
        answered = await self._transact(request)
        if answered is None:  # the lease that a put names is gone: etcd was emptied or restored
            self._leases.forget()
            return await self.commit(transaction)
        answer, repeated = answered
        if answer.succeeded:
            return Outcome(True, answer.header.revision)
        found = {kv.key.decode(): _key_value(kv) for response in answer.responses for kv in response.response_range.kvs}
        if repeated and (stored := _stored_before(transaction, found, answer.header.revision)):
            return Outcome(True, stored)
        return Outcome(False, answer.header.revision, found)

    async def _transact(self, request: Any) -> Answered | None:
        """The answer; None when a lease of the request is unknown."""
        try:
            return await self._attempt("txn", lambda member: member.kv.Txn, request)
        except StatusError as error:
            if LEASE_UNKNOWN_DETAIL in error.status.message and self._leases.any:
                return None
            raise

    async def newest_revision(self) -> int:
        request = rpc.RangeRequest(key=NO_KEY, count_only=True)
        answer = await self._call("revision", _range, request)
        return int(answer.header.revision)

    async def compact(self, revision: int) -> None:
        with _revision_held(revision):
            await self._call("compact", lambda member: member.kv.Compact, rpc.CompactionRequest(revision=revision))

    async def watch(self, prefix: str, revision: int) -> AsyncIterator[Batch]:
        create = rpc.WatchCreateRequest(
            key=prefix.encode() or NO_KEY, range_end=range_end(prefix), start_revision=revision, progress_notify=True, fragment=True
        )
        member = await self._members.choose(self._settings.timeout_seconds)
        stream = member.watch.Watch(wait_for_ready=True, metadata=self._metadata)
        member.streams.add(stream)
        try:
            async with asyncio.timeout(self._settings.attempt_seconds if self._members.several else self._settings.timeout_seconds):
                # Without a bound, for ever: whoever writes to a stream that is cancelled before it is connected hears nothing.
                await stream.write(rpc.WatchRequest(create_request=create))
            pending: list[Change] = []
            async for answer in stream:
                _refuse_broken(answer)
                if answer.created:
                    await self._refuse_lost(answer.header, revision - 1)
                pending += _changes(answer.events)
                if answer.fragment or answer.created:
                    continue
                yield Batch(pending, pending[-1].revision if pending else answer.header.revision)
                pending = []
        except grpc.aio.AioRpcError as error:
            self._members.failed(member)
            raise connection.store_error(error, self._settings.endpoints) from error
        except TimeoutError as error:
            self._members.failed(member)
            raise status_error("Timeout", f"etcd at {', '.join(self._settings.endpoints)} took no watch in time") from error
        except (asyncio.InvalidStateError, asyncio.CancelledError) as error:
            if _is_cancelled():
                raise
            raise status_error("ServiceUnavailable", "the watch stream of etcd broke") from error
        finally:
            member.streams.discard(stream)
            stream.cancel()

    async def _refuse_lost(self, header: Any, seen: int) -> None:
        """Raises HistoryLost unless revision ``seen`` is part of what this etcd was and is; a member may only be behind."""
        before, self._cluster_id = self._cluster_id, header.cluster_id
        if before not in (0, header.cluster_id):
            raise HistoryLost("etcd was made anew")
        if header.revision < seen and (current := await self.newest_revision()) < seen:
            raise HistoryLost(f"etcd is at revision {current}, but {seen} was read from it before")


@contextmanager
def _revision_held(revision: int) -> Iterator[None]:
    """Raises Compacted or FutureRevision for what etcd says about a revision that it was asked for."""
    try:
        yield
    except StatusError as error:
        if COMPACTED_DETAIL in error.status.message:
            raise Compacted(0) from error
        if FUTURE_DETAIL in error.status.message:
            raise FutureRevision(revision) from error
        raise


def _range(member: Member) -> Any:
    return member.kv.Range


def _passes(error: grpc.aio.AioRpcError) -> bool:
    """Whether another member, or the same a moment later, may do what this one did not."""
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return True
    return PROPOSAL_DROPPED_DETAIL in (error.details() or "")


def _is_cancelled() -> bool:
    """Whether the running task is to end, and not only a call of it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _stored_before(transaction: Transaction, found: Mapping[str, KeyValue], revision: int) -> int:
    """The revision at which a transaction that is refused now was stored by an attempt before; 0 when it was not.

    Its first key tells: a put's value is there as it was sent, or what was to be deleted is gone.
    """
    if transaction.puts:
        first = transaction.puts[0]
        item = found.get(first.key)
        return (
            item.revision if item is not None and item.value == first.value and item.revision > transaction.guards.get(first.key, 0) else 0
        )
    return revision if transaction.deletes and transaction.deletes[0] not in found else 0


def _changes(events: Sequence[Any]) -> list[Change]:
    deleted = rpc.Event.DELETE
    return [Change(e.kv.key.decode(), None if e.type == deleted else e.kv.value, e.kv.mod_revision) for e in events]


def _refuse_broken(answer: Any) -> None:
    """Raises what a watch response says went wrong."""
    if answer.compact_revision:
        raise Compacted(answer.compact_revision)
    if answer.canceled:
        raise status_error("ServiceUnavailable", f"etcd ended the watch: {answer.cancel_reason or 'no reason given'}")

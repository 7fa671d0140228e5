"""etcd as the store, in etcd's own messages (see docs/decisions/etcd-client.md).

``calls`` says what may be sent again and what is sent once.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from aetcd import rpc

from knarr.machinery.errors import StatusError, status_error
from services.apiserver.metrics import STORE_TRANSPORT
from services.apiserver.storage import connection, marks
from services.apiserver.storage.calls import Calls, EtcdSettings, Written
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
    PageTooLarge,
    RangePage,
    Transaction,
)

__all__ = ["EtcdSettings", "EtcdStore"]

log = logging.getLogger(__name__)

COMPACTED_DETAIL = "required revision has been compacted"
FUTURE_DETAIL = "required revision is a future revision"
LEASE_UNKNOWN_DETAIL = "requested lease not found"
# No object has this key; as both ends of a range it means all keys.
NO_KEY = b"\0"
MARKS = marks.PREFIX.encode()
# So far back a refused creation is looked for, which may have been carried out and undone; beyond that its outcome is not known.
LOOK_BACK_REVISIONS = 32
EQUAL, MOD = rpc.Compare.EQUAL, rpc.Compare.MOD


def _key_value(kv: Any) -> KeyValue:
    return KeyValue(kv.key.decode(), kv.value, kv.mod_revision)


class EtcdStore:
    """A ``Store`` on the members of one etcd. Made inside a running event loop; ``close`` ends it."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._members = Members(settings.endpoints, settings.tls)
        self._calls = Calls(settings, self._members)
        self._leases = Leases(self._calls.ask)
        STORE_TRANSPORT.labels(connection.transport(settings.endpoints, settings.tls)).set(1)

    @property
    def world(self) -> int:
        return self._calls.identity.world

    async def close(self) -> None:
        await self._members.close()

    async def get(self, key: str) -> KeyValue | None:
        answer = await self._calls.ask("get", _range, rpc.RangeRequest(key=key.encode()))
        return _key_value(answer.kvs[0]) if answer.kvs else None

    async def range(self, prefix: str, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
        request = rpc.RangeRequest(key=(start or prefix).encode(), range_end=range_end(prefix), revision=revision, limit=limit)
        with _revision_held(revision):
            answer = await self._calls.ask("range", _range, request)
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
        before = self._calls.identity.revision
        try:
            marking = await self._leases.of(marks.TTL_SECONDS) if self._members.several else 0
            return _outcome(transaction, await self._calls.write(request, marking))
        except StatusError as error:
            if _says(error, connection.NO_SPACE_DETAIL):
                return await self._after_refusal_for_space(transaction, request, error, before)
            if not _says(error, LEASE_UNKNOWN_DETAIL) or not self._leases.any:
                raise
            # The lease that a put names is gone, so nothing was stored: etcd was emptied or restored.
            self._leases.forget()
            return await self.commit(transaction)

    async def _after_refusal_for_space(self, transaction: Transaction, request: Any, refusal: StatusError, before: int) -> Outcome:
        """``before`` is a revision of before it was sent. The transaction that fills etcd is carried out, and refused all the same."""
        if not await self._have_stood(transaction.guards, before):
            raise connection.unknown_for_space(self._calls.where) from refusal
        if transaction.puts or not self._members.several:
            raise refusal
        # A full etcd takes deletions, but not the mark that several members need to be asked again: it is sent once.
        return _outcome(transaction, await self._calls.write(request))

    async def _have_stood(self, guards: Mapping[str, int], before: int) -> bool:
        """Whether all keys have been as their guards want them, so that a transaction which was answered was not carried out.

        A revision does not come back. A key that is absent may have been there meanwhile, so all of that time is looked at.
        """
        for key, revision in guards.items():
            item = await self.get(key)
            if (item.revision if item is not None else 0) != revision:
                return False
        absent = [key for key, revision in guards.items() if not revision]
        now = self._calls.identity.revision
        if absent and not 0 < before <= now <= before + LOOK_BACK_REVISIONS:
            return False
        try:
            for revision in range(before + 1, now + 1) if absent else ():
                for key in absent:
                    if await self._was_there(key, revision):
                        return False
        except Compacted:
            return False
        return bool(guards)

    async def _was_there(self, key: str, revision: int) -> bool:
        request = rpc.RangeRequest(key=key.encode(), revision=revision, count_only=True)
        with _revision_held(revision):
            return bool((await self._calls.ask("get", _range, request)).count)

    async def newest_revision(self) -> int:
        request = rpc.RangeRequest(key=NO_KEY, count_only=True)
        answer = await self._calls.ask("revision", _range, request)
        return int(answer.header.revision)

    async def compact(self, revision: int) -> None:
        with _revision_held(revision):
            await self._calls.ask("compact", lambda member: member.compact, rpc.CompactionRequest(revision=revision))

    async def trouble(self) -> str:
        request = rpc.AlarmRequest(action=rpc.AlarmRequest.GET, alarm=rpc.NOSPACE)
        try:
            answer = await self._calls.ask("alarm", lambda member: member.alarm, request)
        except StatusError:
            if full := connection.full_disks(self._settings.data_folders):
                return connection.out_of_disk(self._settings.endpoints, full)
            raise
        return connection.out_of_space(self._calls.where) if answer.alarms else ""

    async def watch(self, prefix: str, revision: int, after: Change | None = None) -> AsyncIterator[Batch]:
        create = rpc.WatchCreateRequest(
            key=prefix.encode() or NO_KEY, range_end=range_end(prefix), start_revision=revision, progress_notify=True, fragment=True
        )
        world = self.world
        member = await self._members.choose(self._settings.timeout_seconds)
        stream = member.watch(rpc.WatchRequest(create_request=create), self._calls.metadata)
        member.streams.add(stream)
        try:
            await stream.open(self._settings.attempt_seconds if self._members.several else self._settings.timeout_seconds)
            pending: list[Change] = []
            async for raw in stream:
                answer: Any = rpc.WatchResponse.FromString(raw)
                _refuse_broken(answer)
                if answer.created:
                    await self._refuse_lost(world, revision - 1, after)
                    yield Batch([], revision - 1)
                    continue
                pending += _changes(answer.events)
                if answer.fragment:
                    continue
                yield Batch(pending, answer.events[-1].kv.mod_revision if answer.events else answer.header.revision)
                pending = []
        except grpc.aio.AioRpcError as error:
            self._members.failed(member)
            raise connection.store_error(error, self._calls.where) from error
        finally:
            member.streams.discard(stream)
            stream.cancel()

    async def _refuse_lost(self, world: int, seen: int, after: Change | None) -> None:
        """Raises HistoryLost unless revision ``seen`` is part of what this etcd was and is, with ``after`` its last change.

        The watch's own header does not tell: its member may only be behind.
        """
        current = await self.newest_revision()
        if self.world != world:
            raise HistoryLost("etcd was restored or made anew")
        if current < seen:
            raise HistoryLost(f"etcd is at revision {current}, but {seen} was read from it before")
        if after is None:
            return
        request = rpc.RangeRequest(key=after.key.encode(), revision=seen)
        with _revision_held(seen):
            answer = await self._calls.ask("get", _range, request)
        found = _key_value(answer.kvs[0]) if answer.kvs else None
        if found != (None if after.value is None else KeyValue(after.key, after.value, after.revision)):
            raise HistoryLost(f"etcd does not know the change of revision {after.revision} that was read from it before")


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
        if connection.RECEIVED_TOO_MUCH_DETAIL in error.status.message:
            raise PageTooLarge from error
        raise


def _outcome(transaction: Transaction, written: Written) -> Outcome:
    if written.succeeded:
        return Outcome(True, written.revision)
    found = [_key_value(kv) for response in written.answer.responses for kv in response.response_range.kvs]
    return Outcome(False, written.revision, {item.key: item for item in found if item.key in transaction.guards})


def _says(error: StatusError, words: str) -> bool:
    """Whether that is what etcd itself said."""
    return isinstance(error.__cause__, grpc.aio.AioRpcError) and words in (error.__cause__.details() or "")


def _range(member: Member) -> Any:
    return member.range


def _changes(events: Sequence[Any]) -> list[Change]:
    """Without those of marks, which are nobody else's."""
    deleted = rpc.Event.DELETE
    return [
        Change(e.kv.key.decode(), None if e.type == deleted else e.kv.value, e.kv.mod_revision)
        for e in events
        if not e.kv.key.startswith(MARKS)
    ]


def _refuse_broken(answer: Any) -> None:
    """Raises what a watch response says went wrong."""
    if answer.compact_revision:
        raise Compacted(answer.compact_revision)
    if answer.canceled:
        raise status_error("ServiceUnavailable", f"etcd ended the watch: {answer.cancel_reason or 'no reason given'}")

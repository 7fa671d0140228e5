"""Calls to etcd, each bounded by ``timeout_seconds``, connecting included.

What only reads, or may be done twice, is asked of one member after the other until one answers. A write is not: once it has left,
and its answer is lost, it may have been carried out, or may be yet. To a single member it is sent again only when etcd has said that
it was not taken up; else its caller hears that the outcome is not known. With several members it carries a mark by which its attempts
shut one another out, so that another member can be asked to the same effect (see docs/decisions/high-availability.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from aetcd import rpc

from services.apiserver.metrics import store_timer
from services.apiserver.storage import connection, marks
from services.apiserver.storage.identity import Identity
from services.apiserver.storage.marks import Mark, Marks
from services.apiserver.storage.members import Member, Members
from services.apiserver.storage.wire.channel import Metadata, Question
from services.apiserver.storage.wire.streams import CallError

# Between two attempts of one call.
PAUSE_SECONDS = 0.05
# A member that is cut off from the others says so at once, instead of waiting for them.
HAS_LEADER = (("hasleader", "true"),)
# What a member says of a write before it proposes it to the others, so that it was not and will not be carried out.
NOT_PROPOSED = (
    "raft proposal dropped",
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: not capable",
)
# What etcd answers to a write that it has judged, and refused.
REFUSED = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """``endpoints`` are ``host:port``, one for each member. ``timeout_seconds`` bounds each call, connecting included;
    ``attempt_seconds`` is what one member of several gets for its answer to a question. ``data_folders`` are where etcd keeps
    its data, as far as this machine can look: a full disk is told then."""

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    tls: connection.EtcdTls | None = None
    timeout_seconds: float = 5.0
    attempt_seconds: float = 1.5
    data_folders: tuple[Path, ...] = ()


class Written(NamedTuple):
    """How a transaction ended, and at which revision; ``answer`` tells what a refused one found."""

    succeeded: bool
    revision: int
    answer: Any


# The question to a member that a call is about.
Method = Callable[[Member], Question[Any]]


class Calls:
    """Raises StatusError, in etcd's name. Made inside a running event loop."""

    def __init__(self, settings: EtcdSettings, members: Members) -> None:
        self._settings, self._members = settings, members
        # Kept: until Python 3.12 to look for the running one is a system call, and a write would make four of them.
        self._loop = asyncio.get_running_loop()
        self.metadata: Metadata = HAS_LEADER if members.several else ()
        self.identity = Identity()
        self._marks = Marks()

    @property
    def where(self) -> str:
        """Where etcd is, for those who read what went wrong."""
        return connection.place(self._settings.endpoints, self._settings.data_folders)

    async def ask(self, operation: str, method: Method, request: Any) -> Any:
        """The answer to what may be asked twice."""
        settings, loop = self._settings, self._loop
        started = time.perf_counter()
        end = loop.time() + settings.timeout_seconds
        try:
            while True:
                member = await self._members.choose(end - loop.time())
                left = max(end - loop.time(), 0.0)
                seconds = min(left, settings.attempt_seconds) if self._members.several else left
                term = self.identity.term
                try:
                    answer = await method(member).ask(request, seconds, self.metadata)
                except grpc.aio.AioRpcError as error:
                    if not _passes(error):
                        raise connection.store_error(error, self.where) from error
                    self._members.failed(member)
                    if end - loop.time() <= PAUSE_SECONDS:
                        raise connection.store_error(error, self.where) from error
                else:
                    self.identity.heard(answer.header, term)
                    return answer
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            store_timer(operation).observe(time.perf_counter() - started)

    async def write(self, request: Any, lease: int = 0) -> Written:
        """The end of a transaction, which is carried out once at most. Raises ServiceUnavailable when it never left or was
        refused, Timeout when its outcome is not known. ``lease`` ends the mark of one that may be sent to one member
        after the other; without a mark it is sent to one, once."""
        started = time.perf_counter()
        end = self._loop.time() + self._settings.timeout_seconds
        try:
            if lease:
                return await self._write_marked(request, lease, end)
            answer = await self._send(request, end, [])
            return Written(answer.succeeded, answer.header.revision, answer)
        finally:
            store_timer("txn").observe(time.perf_counter() - started)

    async def _send(self, request: Any, end: float, lost: list[grpc.aio.AioRpcError], *, again: bool = False) -> Any:
        """The answer to a transaction; ``lost`` takes the errors of attempts that may have been carried out. With ``again`` it is
        sent to the next member after them."""
        loop = self._loop
        while True:
            member = self._members.ready or await self._members.choose_connected(end - loop.time())
            if member is None:
                raise connection.unknown_outcome(lost[-1], self.where) if lost else connection.unreachable(self.where)
            left = max(end - loop.time(), 0.0)
            term = self.identity.term
            try:
                seconds = min(left, self._settings.attempt_seconds) if again else left
                answer = await member.txn.ask(request, seconds, self.metadata)
            except grpc.aio.AioRpcError as error:
                if not _not_proposed(error):
                    if error.code() in REFUSED and not lost:
                        raise connection.store_error(error, self.where) from error
                    lost.append(error)
                self._members.failed(member)
                over = end - loop.time() <= PAUSE_SECONDS
                if lost and (over or not again or error.code() in REFUSED):
                    # What etcd says of a later attempt says nothing of the first, and must not be taken for its end.
                    raise connection.unknown_outcome(lost[-1], self.where) from lost[0]
                if over:
                    raise connection.store_error(error, self.where) from error
            else:
                self.identity.heard(answer.header, term)
                return answer
            await asyncio.sleep(PAUSE_SECONDS)

    async def _write_marked(self, request: Any, lease: int, end: float) -> Written:
        mark, value, lost = self._marks.take(), self._marks.value(), list[grpc.aio.AioRpcError]()
        marked = rpc.TxnRequest()
        marked.CopyFrom(request)
        _add_mark(marked, mark, value, lease)
        answer = await self._send(marked, end, lost, again=True)
        if answer.succeeded:
            self._marks.give_back(mark, answer.header.revision)
            return Written(True, answer.header.revision, answer)
        refused, (there, revision) = answer, marks.found(answer, mark)
        if lost and there != value:
            # One that is under way yet must not be carried out after it was said to be refused.
            fence, shut = self._marks.value(), rpc.TxnRequest()
            _add_mark(shut, mark, fence, lease)
            answer = await self._send(shut, end, lost, again=True)
            there, revision = (fence, answer.header.revision) if answer.succeeded else marks.found(answer, mark)
            if there not in (value, fence):
                raise connection.unknown_outcome(lost[-1], self.where)
        if there == value:
            self._marks.give_back(mark, revision)
            return Written(True, revision, answer)
        if not lost and revision != mark.revision:
            # The mark was lost with the store that held it; a new one tells.
            return await self._write_marked(request, lease, end)
        self._marks.give_back(mark, revision)
        return Written(False, refused.header.revision, refused)


def _add_mark(request: Any, mark: Mark, value: bytes, lease: int) -> None:
    request.compare.add(result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=mark.key, mod_revision=mark.revision)
    operation = request.success.add().request_put
    operation.key, operation.value, operation.lease = mark.key, value, lease
    request.failure.add().request_range.key = mark.key


def _passes(error: grpc.aio.AioRpcError) -> bool:
    """Whether another member, or the same a moment later, may answer what this one did not."""
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) or _not_proposed(error)


def _not_proposed(error: grpc.aio.AioRpcError) -> bool:
    if isinstance(error, CallError) and error.unsent:
        return True
    details = error.details() or ""
    return any(words in details for words in NOT_PROPOSED)

"""Writes over several members: what a later attempt is answered says nothing of the one before."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from knarr.machinery.errors import Timeout
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.store import Put, Transaction
from services.apiserver.storage.wire.streams import CallError

KEY = "/registry/configmaps/default/a"
LOST = CallError(grpc.StatusCode.UNAVAILABLE, "the connection was closed")


class Asked:
    """A method of a member that fails with one error after the other."""

    def __init__(self, *errors: CallError) -> None:
        self._errors, self.times = [*errors], 0

    async def ask(self, *_: Any) -> Any:
        self.times += 1
        raise self._errors.pop(0)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
    ],
)
async def test_a_write_that_may_have_been_carried_out_is_not_made_anew(
    code: grpc.StatusCode, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EtcdStore(EtcdSettings(("127.0.0.1:1", "127.0.0.1:2"), timeout_seconds=5))
    member: Any = store._members._members[0]
    member.txn = Asked(LOST, CallError(code, words))

    async def connected(_: float) -> Any:
        return member

    monkeypatch.setattr(store._members, "choose_connected", connected)
    store._leases._granted[3600] = 7, float("inf")
    try:
        with pytest.raises(Timeout, match="not known whether the write was stored"):
            await store.commit(Transaction({KEY: 0}, [Put(KEY, b"x")]))
    finally:
        await store.close()
    assert member.txn.times == 2

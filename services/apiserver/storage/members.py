"""The members of etcd: one channel to each, and one of them that is asked until it fails.

All answer alike (reads are linearizable), so one is as good as another. A member that is away, was
never there or hangs costs the calls under way on it one more attempt; all others go to the next member that
is connected. Watches on a member that failed are broken, so that they begin anew on another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
from aetcd import rpc

from services.apiserver.storage import connection

POLL_SECONDS = 0.01


class Member:
    """etcd's services on one channel."""

    def __init__(self, endpoint: str, tls: connection.EtcdTls | None) -> None:
        self._channel = connection.connect(endpoint, tls)
        self.kv = rpc.KVStub(self._channel)
        self.watch = rpc.WatchStub(self._channel)
        self.lease = rpc.LeaseStub(self._channel)
        self.maintenance = rpc.MaintenanceStub(self._channel)
        # Streams that end with the trust in this member.
        self.streams: set[grpc.aio.StreamStreamCall] = set()

    @property
    def connected(self) -> bool:
        """Whether calls can be sent now; if not, a connection is attempted."""
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        await self._channel.close()


class Members:
    """Made inside a running event loop."""

    def __init__(self, endpoints: Sequence[str], tls: connection.EtcdTls | None) -> None:
        self._members = [Member(endpoint, tls) for endpoint in endpoints]
        self._chosen = 0

    @property
    def several(self) -> bool:
        return len(self._members) > 1

    async def choose(self, timeout_seconds: float) -> Member:
        """The member to ask. If none is connected within the time, the one that was asked last."""
        if not self.several:
            return self._members[0]
        end = asyncio.get_running_loop().time() + timeout_seconds
        while not self._choose_connected() and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        return self._members[self._chosen]

    async def choose_connected(self, timeout_seconds: float) -> Member | None:
        """A member that calls can be sent to now; None if none can be within the time."""
        end = asyncio.get_running_loop().time() + timeout_seconds
        while not self._choose_connected():
            if asyncio.get_running_loop().time() >= end:
                return None
            await asyncio.sleep(POLL_SECONDS)
        return self._members[self._chosen]

    def failed(self, member: Member) -> None:
        """Asks another one from now on."""
        if not self.several:
            return
        if self._members[self._chosen] is member:
            self._chosen = (self._chosen + 1) % len(self._members)
        for stream in list(member.streams):
            stream.cancel()

    def _choose_connected(self) -> bool:
        count = len(self._members)
        for index in (*range(self._chosen, count), *range(self._chosen)):
            if self._members[index].connected:
                self._chosen = index
                return True
        return False

    async def close(self) -> None:
        await asyncio.gather(*(member.close() for member in self._members))

"""The members of etcd: one channel to each, and one of them that is asked until it fails.

All answer alike (reads are linearizable), so one is as good as another. A member that is away, was
never there or hangs costs the calls under way on it one more attempt; all others go to the next member that
is connected. Watches on a member that failed are broken, so that they begin anew on another one. When the certificates by which they
are spoken to are replaced, all get new channels.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aetcd import rpc

from knarr.service.file_marks import FileMarks
from knarr.service.keypair import KeptPair
from services.apiserver.storage import connection
from services.apiserver.storage.wire.channel import AnswerStream, Metadata

log = logging.getLogger(__name__)

POLL_SECONDS = 0.01
# How often certificates are looked at (files, no more), as other components do; what calls under way get when they are replaced.
LOOK_SECONDS, GRACE_SECONDS = 5.0, 30.0


class Member:
    """What etcd is asked, on one channel."""

    def __init__(self, endpoint: str, tls: connection.EtcdTls | None) -> None:
        self._channel = channel = connection.connect(endpoint, tls)
        self.range = channel.question("/etcdserverpb.KV/Range", rpc.RangeResponse)
        self.txn = channel.question("/etcdserverpb.KV/Txn", rpc.TxnResponse)
        self.compact = channel.question("/etcdserverpb.KV/Compact", rpc.CompactionResponse)
        self.lease_grant = channel.question("/etcdserverpb.Lease/LeaseGrant", rpc.LeaseGrantResponse)
        self.alarm = channel.question("/etcdserverpb.Maintenance/Alarm", rpc.AlarmResponse)
        # Streams that end with the trust in this member.
        self.streams: set[AnswerStream] = set()

    def watch(self, request: Any, metadata: Metadata) -> AnswerStream:
        """A stream of WatchResponses, not opened yet."""
        return self._channel.stream("/etcdserverpb.Watch/Watch", request, metadata)

    @property
    def connected(self) -> bool:
        """Whether calls can be sent now; if not, a connection is attempted."""
        return self._channel.usable is not None

    async def close(self, grace_seconds: float = 0.0) -> None:
        for stream in list(self.streams):
            stream.cancel()
        await self._channel.close(grace_seconds)


class _Files:
    """What a member is spoken to by, as it was when it was last asked about. Raises OSError or ssl.SSLError when it cannot be used."""

    def __init__(self, tls: connection.EtcdTls) -> None:
        self._authority = FileMarks([tls.ca_file])
        self._pair = KeptPair(tls.cert_file, tls.key_file) if tls.cert_file and tls.key_file else None
        self._shown = self._pair.latest() if self._pair else None

    def replaced(self) -> bool:
        former, self._shown = self._shown, self._pair.latest() if self._pair else None
        return self._authority.changed() or self._shown is not former


class Members:
    """Made inside a running event loop."""

    def __init__(self, endpoints: Sequence[str], tls: connection.EtcdTls | None) -> None:
        self._endpoints = endpoints
        self._members = [Member(endpoint, tls) for endpoint in endpoints]
        self._chosen = 0
        self._following = asyncio.create_task(self._follow(_Files(tls), tls), name="etcd/certificates") if tls is not None else None

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

    @property
    def ready(self) -> Member | None:
        """The member that was asked last, if calls can be sent to it now, as nearly always."""
        member = self._members[self._chosen]
        return member if member.connected else None

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

    async def _follow(self, files: _Files, tls: connection.EtcdTls) -> None:
        """Opens new channels whenever certificates were replaced by others that can be used."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not files.replaced():
                continue
            try:
                fresh = [Member(endpoint, tls) for endpoint in self._endpoints]
            except OSError as error:
                log.warning("certificates for etcd were replaced and cannot be read; the former are shown on", extra={"error": error})
                continue
            former, self._members = self._members, fresh
            log.info("the certificates for etcd were replaced; connecting anew")
            await asyncio.gather(*(member.close(GRACE_SECONDS) for member in former))

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
        await asyncio.gather(*(member.close() for member in self._members))

"""etcd leases for objects that expire, one lease shared by all that are written within a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aetcd import rpc

SHARED_SECONDS = 60


class Leases:
    """Grants leases. An object lives at least as long as asked, at most ``SHARED_SECONDS`` longer."""

    def __init__(self, call: Callable[[str, Any, Any], Awaitable[Any]]) -> None:
        self._call = call
        self._granted: dict[int, tuple[int, float]] = {}
        self._lock = asyncio.Lock()

    async def of(self, ttl_seconds: int) -> int:
        """The id of a lease with at least ``ttl_seconds`` left."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            lease, until = self._granted.get(ttl_seconds, (0, 0.0))
            if now >= until:
                answer = await self._call(
                    "lease", lambda member: member.lease_grant, rpc.LeaseGrantRequest(TTL=ttl_seconds + SHARED_SECONDS)
                )
                lease = int(answer.ID)
                self._granted[ttl_seconds] = lease, now + SHARED_SECONDS
            return lease

    @property
    def any(self) -> bool:
        """Whether a lease is remembered that may be stale."""
        return bool(self._granted)

    def forget(self) -> None:
        """After etcd said that a lease is unknown: the next object gets a new one."""
        self._granted.clear()

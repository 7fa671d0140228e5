"""The sockets by which upstreams are asked: none is left open by a question that ends while its socket is made.

``create_datagram_endpoint`` that is cancelled leaves its socket to the garbage collector (asyncio, uvloop), and questions to a server that
does not answer end at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import dns.asyncbackend

R = TypeVar("R")


class Sockets(dns.asyncbackend.Backend):  # type: ignore[name-defined]
    """dnspython's sockets of asyncio, each made to its end, and closed then where nobody waits for it any more."""

    def __init__(self) -> None:
        self._inner = dns.asyncbackend.get_backend("asyncio")
        self._begun: set[asyncio.Task[Any]] = set()

    def name(self) -> str:
        return str(self._inner.name())

    def datagram_connection_required(self) -> bool:
        return bool(self._inner.datagram_connection_required())

    async def sleep(self, interval: float) -> None:
        await self._inner.sleep(interval)

    async def make_socket(self, *arguments: Any, **options: Any) -> Any:
        making = self._begin(self._inner.make_socket(*arguments, **options))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            self._begin(_close(making))
            raise

    async def close(self) -> None:
        """Waits for what is being made and closed."""
        while self._begun:
            await asyncio.wait(self._begun)

    def _begin(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        begun = asyncio.create_task(work, name="dns/upstream/socket")
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)
        return begun


async def _close(making: asyncio.Task[Any]) -> None:
    await asyncio.wait({making})
    if not making.cancelled() and making.exception() is None:
        await making.result().close()

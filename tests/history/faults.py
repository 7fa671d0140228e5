"""What befalls a cluster, one thing after the other, as a seed has it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.history.cluster import Cluster
from tests.support.etcd import EtcdServer
from tests.support.proxy import TcpProxy

PAUSE_SECONDS = (0.1, 0.8)


class Faults:
    def __init__(self, cluster: Cluster, source: random.Random) -> None:
        self._cluster, self._source = cluster, source
        self._snapshot: Path | None = None

    async def run(self, seconds: float, *, restore: bool) -> None:
        """Faults until so many seconds are over, then everything is well; with ``restore`` one of them in the middle."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.kill, self.pause, self.pause_and_kill, self.cut, self.mute, self.hold, self.compact_while_cut, self.fill,
        ]  # fmt: skip
        while loop.time() < begin + seconds:
            await asyncio.sleep(self._source.uniform(*PAUSE_SECONDS))
            if restore and self._snapshot is None and loop.time() > begin + seconds / 4:
                self._snapshot = await self._cluster.snapshot()
            if restore and loop.time() > begin + seconds / 2:
                restore = False
                await self._told(self.restore)
                continue
            await self._told(self._source.choice(kinds))

    async def _told(self, fault: Callable[[], Awaitable[None]]) -> None:
        told = self._cluster.history.faults
        told.append(f"[{asyncio.get_running_loop().time():.3f}] {fault.__name__}")
        await fault()

    async def _last(self, low: float, high: float) -> None:
        await asyncio.sleep(self._source.uniform(low, high))

    def _etcd(self) -> EtcdServer:
        return self._source.choice(self._cluster.etcds)

    def _proxies(self) -> list[TcpProxy]:
        """Of one server: to all members, or to one."""
        proxies = self._source.choice(self._cluster.proxies)
        return self._source.choice((proxies, [self._source.choice(proxies)]))

    async def kill(self) -> None:
        etcd = self._etcd()
        etcd.kill()
        await self._last(0, 1)
        await asyncio.to_thread(etcd.start)

    async def pause(self) -> None:
        etcd = self._etcd()
        etcd.pause()
        await self._last(0.1, 2)
        etcd.resume()

    async def pause_and_kill(self) -> None:
        etcd = self._etcd()
        etcd.pause()
        await self._last(0.1, 0.7)
        etcd.kill()
        await asyncio.to_thread(etcd.start)

    async def cut(self) -> None:
        await self._between(TcpProxy.cut, 0.05, 1.5)

    async def mute(self) -> None:
        await self._between(TcpProxy.mute, 0.02, 0.6)

    async def hold(self) -> None:
        await self._between(TcpProxy.hold, 0.05, 1.5)

    async def _between(self, how: Callable[[TcpProxy], None], low: float, high: float) -> None:
        proxies = self._proxies()
        for proxy in proxies:
            how(proxy)
        await self._last(low, high)
        for proxy in proxies:
            proxy.mend()

    async def compact_while_cut(self) -> None:
        proxies = self._source.choice(self._cluster.proxies)
        for proxy in proxies:
            proxy.cut()
        await self._last(0.1, 0.5)
        await self._cluster.compact()
        for proxy in proxies:
            proxy.mend()

    async def fill(self) -> None:
        """Etcd's quota is reached: only deletions are taken, until there is room again and the alarm is disarmed."""
        await self._cluster.fill()
        await self._last(0.1, 0.5)
        await self._cluster.make_room()

    async def restore(self) -> None:
        """Clients and leaders hold still, watches and servers do not."""
        assert self._snapshot is not None
        await self._cluster.leaders.stop()
        await self._cluster.hold_still()
        await self._cluster.restore(self._snapshot, self._source.choice(("etcd-cluster", "another")))
        self._cluster.open.set()
        await self._cluster.leaders.start()

"""Keeps the node's pod network as the Nodes want it.

Stopping leaves everything in force, so that pods go on talking while a proxy restarts; ``remove_pod_network`` takes it away. While the API
server is away the last plan stays in force. The whole is looked over now and then: others take routes away, interfaces go down and up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.service.tasks import run_together
from services.proxy.datapath.nftables.libnftables import NftablesError
from services.proxy.podnetwork.kernel import PodKernel
from services.proxy.podnetwork.plan import Member, Plan, members
from services.proxy.settings import ProxySettings

log = logging.getLogger(__name__)

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class InForce:
    """What is in force, since when each peer's way is, and what is missing in words."""

    plan: Plan
    since: datetime | None = None
    peers_since: dict[str, datetime] = field(default_factory=dict)
    limitations: tuple[str, ...] = ()


class PodNetwork:
    """One node's pod network. ``run`` it; needs NET_ADMIN."""

    def __init__(self, client: Client, settings: ProxySettings, kernel: PodKernel | None = None) -> None:
        if not settings.node_name:
            raise ValueError("the pod network needs the name of its node")
        self._settings = settings
        self._nodes = Informer(client, core.Node)
        self._backoff = Backoff(first_seconds=settings.retry_first_seconds, limit_seconds=settings.retry_limit_seconds)
        self._touched = asyncio.Event()
        self._kernel = kernel or PodKernel(settings)
        self._members: list[Member] = []
        self.tried = False
        self.in_force = InForce(Plan(Member(settings.node_name, "", ""), problem="the Nodes are not known yet"))

    @property
    def mode(self) -> str:
        """The mode as it was chosen: ``auto``, ``routes`` or ``vxlan``."""
        return self._settings.pod_network

    async def run(self) -> None:
        """Works until cancelled."""
        # One thread for netlink and libnftables; neither may be used by two at once.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proxy-podnetwork")
        try:
            await run_together("proxy/pod-network", {"nodes": self._nodes.run(), "pod-network": self._keep()})
        finally:
            await self._in_worker(self._kernel.close)
            self._worker.shutdown()

    async def _keep(self) -> None:
        await self._nodes.wait_synced()
        self._nodes.on_change(self._node_changed)
        self._members = members(self._nodes.store.list())
        failures = 0
        while True:
            self._touched.clear()
            healthy = await self._step()
            failures = 0 if healthy else failures + 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.check_seconds if healthy else self._backoff.delay(failures)):
                    await self._touched.wait()

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> None:
        """Heartbeats change Nodes all the time; few changes matter here."""
        found = members(self._nodes.store.list())
        if found != self._members:
            self._members = found
            self._touched.set()

    async def _step(self) -> bool:
        """Brings the kernel to the plan; False when something of it was refused."""
        found = self._members
        try:
            plan, limitations = await self._in_worker(lambda: self._kernel.bring(found))
        except (OSError, NftablesError) as error:
            self._tell(Plan(Member(self._settings.node_name, "", ""), problem=str(error)), ())
            return False
        self._tell(plan, limitations)
        return not any(peer.problem and peer.way for peer in plan.peers)

    def _tell(self, plan: Plan, limitations: Sequence[str]) -> None:
        before, now = self.in_force, datetime.now(UTC)
        self.tried = True
        if plan == before.plan and tuple(limitations) == before.limitations:
            return
        old = {peer.node: peer for peer in before.plan.peers}
        since = {
            peer.node: before.peers_since.get(peer.node, now) if old.get(peer.node) == peer else now
            for peer in plan.peers
            if peer.way and not peer.problem
        }
        self.in_force = InForce(plan, None if plan.problem else now, since, tuple(limitations))
        problems = [f"{peer.node}: {peer.problem}" for peer in plan.peers if peer.problem]
        facts = {"peers": len(since), "problem": plan.problem, "problems": problems, "limitations": list(limitations)}
        # What a node does not have yet will come.
        strange = any(peer.problem and peer.pod_cidr and peer.address for peer in plan.peers)
        log.log(logging.WARNING if strange else logging.INFO, "pod network", extra=facts)

    async def _in_worker(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

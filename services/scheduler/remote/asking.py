"""Plugins in other processes are asked in their profile's order: each about the nodes that those before it left, then all for scores."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from knarr.service.late import loaded
from services.scheduler.advice import Advice, Refusal
from services.scheduler.node_table import NodeTable
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import Profile
from services.scheduler.remote_plugin import RemoteFailed, RemotePlugin

if TYPE_CHECKING:
    from services.scheduler.remote.peer import Peer

logger = logging.getLogger(__name__)


class RemotePlugins:
    """Those of all profiles of one leader; they are told of ``table``."""

    def __init__(self, table: NodeTable, now: Callable[[], float]) -> None:
        self._table, self._now = table, now
        self._peers: dict[RemotePlugin, Peer] = {}

    async def close(self) -> None:
        await asyncio.gather(*(peer.close() for peer in self._peers.values()))

    async def advise(self, profile: Profile, pod: PodFacts, nodes: Sequence[str], without: Sequence[str] = ()) -> Advice:
        """What they say of nodes, by name. ``without``: uids of pods that are to be taken for gone. Raises RemoteFailed."""
        refused = await self.refusals(profile, pod, nodes, without)
        left = [name for name in nodes if name not in refused]
        scores = await self._scores(profile, pod, left) if len(left) > 1 else {}
        return Advice(frozenset(left), refused, scores, frozenset(plugin.name for plugin in profile.remote_filters))

    async def refusals(self, profile: Profile, pod: PodFacts, nodes: Sequence[str], without: Sequence[str] = ()) -> Mapping[str, Refusal]:
        """Why nodes will not do, by name. Raises RemoteFailed."""
        left, refused = list(nodes), dict[str, Refusal]()
        for plugin in profile.remote_filters:
            if not left:
                break
            try:
                refused.update(await (await self._peer(plugin)).filter(pod, left, without))
            except RemoteFailed as error:
                self._pass_over(plugin, error)
            left = [name for name in left if name not in refused]
        return refused

    async def reserve(self, profile: Profile, pod: PodFacts, node: str) -> Reservation:
        """Has them set aside what the pod needs; all or, raising RemoteFailed, none of them."""
        reservation = Reservation(pod, node)
        for plugin in profile.remote_preparing:
            peer = await self._peer(plugin)
            # It may have done so even where nothing is heard of it.
            reservation.peers.append(peer)
            try:
                if not await peer.reserve(pod, node):
                    reservation.peers.pop()
            except RemoteFailed as error:
                if error.answered or not plugin.args.ignorable:
                    await reservation.give_back()
                    raise
                self._pass_over(plugin, error)
        return reservation

    async def pre_bind(self, profile: Profile, pod: PodFacts, node: str) -> None:
        """Until all say that the pod can be bound. Raises RemoteFailed."""
        for plugin in profile.remote_preparing:
            try:
                await (await self._peer(plugin)).pre_bind(pod, node)
            except RemoteFailed as error:
                if error.answered:
                    raise
                self._pass_over(plugin, error)

    async def _scores(self, profile: Profile, pod: PodFacts, left: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        found = {}
        for plugin, weight in profile.remote_scores:
            try:
                points = await (await self._peer(plugin)).score(pod, left)
            except RemoteFailed as error:
                self._pass_over(plugin, error)
                continue
            if points:
                found[plugin.name] = {name: score * weight for name, score in points.items()}
        return found

    def _pass_over(self, plugin: RemotePlugin, error: RemoteFailed) -> None:
        """Raises the error, unless the plugin may be ignored."""
        if not plugin.args.ignorable:
            raise error
        logger.warning("a plugin that may be ignored failed", extra={"plugin": plugin.name, "error": str(error)})

    async def _peer(self, plugin: RemotePlugin) -> Peer:
        # Most schedulers have no such plugin and never load what it takes to reach one.
        module = await loaded("services.scheduler.remote.peer")
        if plugin not in self._peers:
            self._peers[plugin] = module.Peer(plugin.name, plugin.args, self._table, self._now)
        return self._peers[plugin]


class Reservation:
    """What plugins have set aside for a pod."""

    def __init__(self, pod: PodFacts, node: str) -> None:
        self.pod, self.node = pod, node
        self.peers: list[Peer] = []

    async def give_back(self) -> None:
        """The last first, as Kubernetes does."""
        for peer in reversed(self.peers):
            await peer.unreserve(self.pod, self.node)

"""Node address management: gives each node without a podCIDR a part of the cluster's range, once.

No range is given twice. One worker gives them out. It lists the nodes from the server, so a cache that lags behind cannot mislead it, and
serves all that have none, the oldest first. A range stays promised to its node from the decision until the node is gone: a write whose
answer was lost is repeated with the same range, never with another one. A new leader begins from the list alone; what its predecessor
wrote late meets a changed resourceVersion. A node that comes with a range keeps it; one that wishes
to have a part again gets it if it is free.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import IPv4Network

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import NotFound, StatusError
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of
from knarr.objects.pod_ranges import wished_range
from services.controller.controller import Context, Controller
from services.controller.controllers.nodeipam.decide import ClusterRange, has_range, ranges_of, rivals

PAGE = 500


class NodeIpamController(Controller):
    name = "nodeipam"
    speaks_as = "cidrAllocator"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = context.settings
        self._range = ClusterRange(IPv4Network(settings.cluster_cidr), settings.node_mask_size) if settings.cluster_cidr else None
        # By the node's uid; those whose write was answered, too.
        self._given: set[str] = set()
        self._promised: dict[str, IPv4Network] = {}
        # The range that was given last; until one is, the highest that a node has.
        self._last: IPv4Network | None = None
        self._newest: IPv4Network | None = None
        # Nodes that wait for a range to become free, and those told that theirs overlaps another's.
        self._waiting: set[str] = set()
        self._rivals: set[str] = set()
        if self._range is not None:
            self._nodes = self.hears(core.Node, self._node_changed)

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterator[Key]:
        if new is None:
            if old is not None:
                self._promised.pop(old.metadata.uid, None)
                self._rivals.discard(old.metadata.uid)
                self._given.discard(old.metadata.uid)
                self._waiting.discard(old.metadata.name)
            yield from (Key("", name) for name in self._waiting)
        elif old is None or old.metadata.uid != new.metadata.uid or not has_range(new) or not has_range(old):
            yield key_of(new)

    async def reconcile(self, key: Key) -> Again | None:
        assert self._range is not None
        known = self._nodes.get("", key.name)
        if known is None:
            return None
        if has_range(known):
            self._compare(known)
            return None
        if known.metadata.uid in self._given:
            # The cache has not seen it yet.
            return None
        nodes = await self._live_nodes()
        holders = self._holders(nodes)
        failed: StatusError | None = None
        for node in sorted((found for found in nodes if not has_range(found)), key=_age):
            try:
                await self._serve(node, holders)
            except StatusError as error:
                if node.metadata.name == key.name:
                    failed = error
                else:
                    self.queue.enqueue(Key("", node.metadata.name))
        if failed is not None:
            raise failed
        return None

    def _compare(self, node: core.Node) -> None:
        """Nodes may bring ranges of their own; two of them that overlap cannot both be reached."""
        self._waiting.discard(node.metadata.name)
        found = rivals(node, self._nodes.list())
        if found and node.metadata.uid not in self._rivals:
            self._rivals.add(node.metadata.uid)
            message = f"The range {node.spec.pod_cidr} of node {node.metadata.name} overlaps that of {', '.join(found)}"
            self.recorder.event(node, WARNING, "CIDROverlap", message)

    async def _live_nodes(self) -> list[core.Node]:
        found: list[core.Node] = []
        token = ""
        while True:
            page = await self.client.list(core.Node, limit=PAGE, continue_token=token)
            found += page.items
            token = page.continue_token
            if not token:
                return found

    def _holders(self, nodes: list[core.Node]) -> dict[int, str]:
        """Which parts of the cluster's range are taken: by number, the uid of the node that it is promised to, and nothing for what a node
        has. Made once for all that are served: many come at once, and there may be thousands."""
        assert self._range is not None
        alive = {found.metadata.uid for found in nodes}
        self._promised = {uid: network for uid, network in self._promised.items() if uid in alive}
        had = [network for found in nodes for network in ranges_of(found)]
        self._newest = max(had, default=None)
        promised = {index: uid for uid, network in self._promised.items() for index in self._range.parts([network])}
        return promised | dict.fromkeys(self._range.parts(had), "")

    async def _serve(self, node: core.Node, holders: dict[int, str]) -> None:
        if node.metadata.uid in self._given:
            return
        given = self._choose(node, holders)
        if given is None:
            self._refuse(node)
        else:
            await self._give(node, given, holders)

    def _choose(self, node: core.Node, holders: dict[int, str]) -> IPv4Network | None:
        """The range promised to the node, or one that is neither given nor promised."""
        assert self._range is not None
        uid = node.metadata.uid
        for network in (self._promised.get(uid), wished_range(node)):
            if network is None or not self._range.has_part(network):
                continue
            if all(holders.get(index, uid) == uid for index in self._range.parts([network])):
                return network
        return self._range.free_part(holders, self._last or self._newest)

    def _refuse(self, node: core.Node) -> None:
        """Until another node leaves; its deletion enqueues those that wait."""
        name = node.metadata.name
        if name not in self._waiting:
            self._waiting.add(name)
            message = f"Node {name} status is now: CIDRNotAvailable; every range of {self.context.settings.cluster_cidr} is taken"
            self.recorder.event(node, WARNING, "CIDRNotAvailable", message)

    async def _give(self, node: core.Node, given: IPv4Network, holders: dict[int, str]) -> None:
        assert self._range is not None
        self._promised[node.metadata.uid] = self._last = given
        holders.update(dict.fromkeys(self._range.parts([given]), node.metadata.uid))
        changed = copy_of(node)
        changed.spec.pod_cidr = str(given)
        changed.spec.pod_cidrs.append(str(given))
        with contextlib.suppress(NotFound):
            await self.client.update(changed)
        self._given.add(node.metadata.uid)
        self._waiting.discard(node.metadata.name)


def _age(node: core.Node) -> tuple[int, str]:
    return node.metadata.creation_timestamp.seconds, node.metadata.name

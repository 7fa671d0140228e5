"""What the cluster is told of the node's drivers: in its CSINode, in labels and an annotation of its Node. The changes are pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.client import Client
from knarr.machinery.errors import AlreadyExists, Conflict, Invalid, NotFound
from knarr.objects.copies import copy_of

T = TypeVar("T")
# Of a Node: the drivers' names of it, a JSON object by driver.
NODE_IDS = "csi.volume.kubernetes.io/nodeid"
# How often a write is tried again that somebody else's came before.
ATTEMPTS = 5
# Of CSINode's field, 32 bits.
MOST_VOLUMES = 2**31 - 1


class Collision(Exception):
    """A driver says of the node's place what the node is not."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a driver calls this node, where it says that the node is, and how many of its volumes the node can have; 0: it does not say."""

    node_id: str
    topology: Mapping[str, str] = field(default_factory=dict)
    most_volumes: int = 0


def with_driver(node: core.Node, driver: str, info: NodeInfo) -> core.Node:
    """The Node with a driver's name of it and the labels of its place. Raises Collision."""
    changed = copy_of(node)
    for key, value in info.topology.items():
        there = changed.metadata.labels.get(key, value)
        if there != value:
            words = f'driver reported "{key}":"{value}" but existing label is "{key}":"{there}"'
            raise Collision(f"detected topology value collision: {words}")
        changed.metadata.labels[key] = value
    _set_ids(changed, {**_ids(changed), driver: info.node_id})
    return changed


def without_driver(node: core.Node, driver: str) -> core.Node:
    """The Node without a driver's name of it; the labels of its place stay, as in Kubernetes: volumes may still be there."""
    changed = copy_of(node)
    _set_ids(changed, {name: node_id for name, node_id in _ids(changed).items() if name != driver})
    return changed


def _ids(node: core.Node) -> dict[str, str]:
    try:
        found = json.loads(node.metadata.annotations.get(NODE_IDS, "{}"))
    except ValueError:
        return {}
    return {str(name): str(node_id) for name, node_id in found.items()} if isinstance(found, dict) else {}


def _set_ids(node: core.Node, ids: Mapping[str, str]) -> None:
    if ids:
        node.metadata.annotations[NODE_IDS] = json.dumps(ids, sort_keys=True, separators=(",", ":"))
    else:
        node.metadata.annotations.pop(NODE_IDS, None)


def csi_node(node: core.Node) -> storage.CSINode:
    """A node's first: it goes with the Node."""
    made = storage.CSINode()
    made.metadata.name = node.metadata.name
    made.metadata.owner_references.add(api_version="v1", kind="Node", name=node.metadata.name, uid=node.metadata.uid)
    return made


def told(known: storage.CSINode, driver: str, info: NodeInfo | None) -> storage.CSINode:
    """With what is to be said of a driver; None: nothing, it is gone."""
    changed = copy_of(known)
    kept = [found for found in changed.spec.drivers if found.name != driver]
    if info is not None:
        said = storage.CSINodeDriver(name=driver, node_id=info.node_id, topology_keys=sorted(info.topology))
        if info.most_volumes > 0:
            said.allocatable.count = min(info.most_volumes, MOST_VOLUMES)
        kept.append(said)
    del changed.spec.drivers[:]
    changed.spec.drivers.extend(kept)
    return changed


class NodeInfoKeeper:
    """Tells the cluster. The order is Kubernetes': first the Node, by whose labels volumes are placed, then the CSINode."""

    def __init__(self, client: Client, node_name: str) -> None:
        self._client, self._name = client, node_name

    async def add(self, driver: str, info: NodeInfo) -> None:
        """Raises StatusError and Collision. May be repeated."""
        node = await _again(lambda: self._change_node(lambda node: with_driver(node, driver, info)))
        try:
            await _again(lambda: self._change(node, driver, info))
        except Invalid:
            # What is said of a driver does not change: it is taken back, and said anew.
            await _again(lambda: self._change(node, driver, None))
            await _again(lambda: self._change(node, driver, info))

    async def remove(self, driver: str) -> None:
        """Raises StatusError. May be repeated."""
        with contextlib.suppress(NotFound):
            node = await self._client.get(core.Node, self._name)
            await _again(lambda: self._change(node, driver, None))
            await _again(lambda: self._change_node(lambda node: without_driver(node, driver)))

    async def _change_node(self, change: Callable[[core.Node], core.Node]) -> core.Node:
        node = await self._client.get(core.Node, self._name)
        changed = change(node)
        return node if changed == node else await self._client.update(changed)

    async def _change(self, node: core.Node, driver: str, info: NodeInfo | None) -> None:
        try:
            known = await self._client.get(storage.CSINode, self._name)
        except NotFound:
            known = csi_node(node)
        changed = told(known, driver, info)
        if changed != known:
            await (self._client.update(changed) if known.metadata.uid else self._client.create(changed))


async def _again(change: Callable[[], Awaitable[T]]) -> T:
    """Once more where somebody else's write came before."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(Conflict, AlreadyExists):
            return await change()
    return await change()

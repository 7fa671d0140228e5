"""What a plugin in another process was told of nodes and pods, and what is news to it. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduler.v1 import plugin_pb2 as api
from services.scheduler.node_table import NodeTable
from services.scheduler.remote_plugin import RemotePlugin

# Of one call, about: servers take 4 MiB unless told otherwise.
CHUNK_BYTES = 1024 * 1024


class Told:
    """One session. Good for as long as each answer of ``news`` reaches the plugin, in order."""

    def __init__(self, table: NodeTable, *, pods: bool) -> None:
        """``pods``: whether the plugin wants to be told of those that are on nodes."""
        self.view = api.View(session=secrets.token_hex(8))
        self._table = table
        self._moved = table.follow_pods() if pods else None
        self._version = -1
        # As they were told: a number is the node's row in the table, which may be another node's by now.
        self.numbers: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self._pods = set[str]()

    def close(self) -> None:
        """It is not to be told any more."""
        if self._moved is not None:
            self._table.forget_follower(self._moved)

    def news(self) -> Sequence[api.UpdateNodesRequest]:
        """What has changed since the last time, in parts; nothing where nothing has, but for the first time."""
        parts = list(self._parts())
        if not parts and not self.view.revision:
            parts.append(api.UpdateNodesRequest())
        for part in parts:
            part.base_revision = self.view.revision
            self.view.revision += 1
            part.view.CopyFrom(self.view)
        return parts

    def _parts(self) -> Iterator[api.UpdateNodesRequest]:
        part, size = api.UpdateNodesRequest(), 0
        for name in self._gone():
            part.removed_nodes.append(self._forget(name))
        for row in self._changed():
            node = self._table.node(row)
            told = part.nodes.add(number=row)
            told.node.CopyFrom(shown(node))
            self.numbers[node.metadata.name], self.names[row] = row, node.metadata.name
            if (size := size + told.ByteSize()) > CHUNK_BYTES:
                yield part
                part, size = api.UpdateNodesRequest(), 0
        for uid in self._taken():
            name = self._table.node_of(uid)
            if name:
                placed = part.pods.add(node=name, pod=self._table.pods_of(name)[uid].pod)
                size += placed.ByteSize()
                self._pods.add(uid)
            elif uid in self._pods:
                part.removed_pods.append(uid)
                self._pods.discard(uid)
            if size > CHUNK_BYTES:
                yield part
                part, size = api.UpdateNodesRequest(), 0
        if part.ByteSize():
            yield part
        self._version = self._table.version

    def _gone(self) -> list[str]:
        rows = self._table.rows
        return [name for name, number in self.numbers.items() if rows.get(name) != number]

    def _forget(self, name: str) -> int:
        number = self.numbers.pop(name)
        del self.names[number]
        return number

    def _changed(self) -> list[int]:
        """The rows of nodes that it does not know as they are."""
        table = self._table
        if self._version < 0:
            return list(table.rows.values())
        changed = table.changed_since(self._version, RemotePlugin.reads)
        return [row for row in changed if table.nodes[row] is not None]

    def _taken(self) -> list[str]:
        """Uids of pods that came, changed or left."""
        if self._moved is None:
            return []
        moved = list(self._moved)
        self._moved.clear()
        return moved


def shown(node: core.Node) -> core.Node:
    """A node as plugins are told of it: without what changes all the time."""
    told = core.Node()
    told.CopyFrom(node)
    told.status.ClearField("conditions")
    told.metadata.ClearField("managed_fields")
    return told

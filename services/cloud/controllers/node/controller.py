"""Node: tells each Node about its machine, lets pods onto it then, and keeps it true.

A node that carries the taint ``uninitialized`` is asked for at once. Nodes that are this provider's by their provider id are looked at
again every few minutes; those without one came without a provider and are left alone.
"""

from __future__ import annotations

import random

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.keys import Key
from services.cloud.controller import CloudController, Context
from services.cloud.controllers.node.decide import addressed, described
from services.cloud.errors import ProviderError
from services.cloud.nodes import belongs_to, is_uninitialized
from services.cloud.settings import CloudSettings


class NodeController(CloudController):
    name = "node"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._backoff = context.provider_backoff
        self._failures: dict[Key, int] = {}
        # The last error of a call about a node, by its name.
        self.errors: dict[str, str] = {}
        self._spread = random.Random(context.settings.cluster)
        self._nodes = self.watches(core.Node, when=_is_other)

    @classmethod
    def wanted(cls, info: cloud.GetInfoResponse, settings: CloudSettings) -> bool:
        return bool(info.instances)

    def nodes(self) -> list[core.Node]:
        return sorted(self._nodes.list(), key=lambda node: str(node.metadata.name))

    async def reconcile(self, key: Key) -> Again | None:
        node = self._nodes.get("", key.name)
        if node is None or not (is_uninitialized(node) or belongs_to(node, self.context.info.name)):
            self._forget(key)
            return None
        try:
            instance = (await self.provider.get_instance(cloud.GetInstanceRequest(node=node))).instance
        except ProviderError as error:
            return Again(self._failed(key, node, error))
        self._forget(key)
        if instance.state == cloud.INSTANCE_STATE_GONE:
            # Whether the Node goes is for the node lifecycle; a machine that is just coming may not be known yet.
            return Again(self._failed(key, node, None))
        try:
            await self._tell(node, instance)
        except (NotFound, Conflict):
            return Again(0.02)
        return Again(self.context.settings.node_refresh_seconds * (1 + 0.1 * self._spread.random()))

    async def _tell(self, node: core.Node, instance: cloud.Instance) -> None:
        """Addresses first: the taint goes when everything else is said."""
        live = await self.client.get(core.Node, node.metadata.name)
        if live.metadata.uid != node.metadata.uid:
            return
        changed = addressed(live, instance)
        if changed.status.addresses != live.status.addresses:
            live = await self.client.update(changed, subresource="status")
        changed = described(live, instance)
        if changed != live:
            waited = is_uninitialized(live)
            live = await self.client.update(changed)
            if waited:
                self.context.recorder.event(live, NORMAL, "Synced", "Node synced successfully")

    def _failed(self, key: Key, node: core.Node, error: ProviderError | None) -> float:
        text = str(error) if error is not None else "the provider knows no such machine"
        if self.errors.get(key.name) != text and is_uninitialized(node):
            self.context.recorder.event(node, WARNING, "InitializationFailed", f"Error initializing node {key.name}: {text}")
        self.errors[key.name] = text
        self._failures[key] = self._failures.get(key, 0) + 1
        return max(self._backoff.delay(self._failures[key]), error.retry_after_seconds if error is not None else 0.0)

    def _forget(self, key: Key) -> None:
        self._failures.pop(key, None)
        self.errors.pop(key.name, None)


def _is_other(old: core.Node | None, new: core.Node | None) -> bool:
    """Another machine, or one that waits to be asked for."""
    return new is None or old is None or (is_uninitialized(new), new.spec.provider_id) != (is_uninitialized(old), old.spec.provider_id)

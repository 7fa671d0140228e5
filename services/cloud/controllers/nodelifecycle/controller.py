"""Node lifecycle: asks for the machine of a node that is not ready; removes the Node of one that is gone, taints that of one switched off.

Only nodes whose provider id is this provider's are asked for: a wrong configuration must not remove the nodes of another one.
"""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.keys import Key, key_of
from services.cloud.controller import CloudController, Context
from services.cloud.controllers.nodelifecycle.decide import Step, decide, has_taint, is_ready, tainted, untainted
from services.cloud.errors import ProviderError
from services.cloud.nodes import belongs_to
from services.cloud.settings import CloudSettings


class NodeLifecycleController(CloudController):
    name = "nodelifecycle"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._backoff = context.provider_backoff
        self._failures: dict[Key, int] = {}
        self._nodes = self.hears(core.Node, self._node_changed)

    @classmethod
    def wanted(cls, info: cloud.GetInfoResponse, settings: CloudSettings) -> bool:
        return bool(info.instances)

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterator[Key]:
        if new is None:
            if old is not None:
                self._failures.pop(key_of(old), None)
        elif self._concerns(new) and (old is None or not self._concerns(old)):
            yield key_of(new)

    def _concerns(self, node: core.Node) -> bool:
        return (not is_ready(node) or has_taint(node)) and belongs_to(node, self.context.info.name)

    async def reconcile(self, key: Key) -> Again | None:
        node = self._nodes.get("", key.name)
        if node is None or not self._concerns(node):
            return None
        state = None
        if not is_ready(node):
            try:
                state = (await self.provider.get_instance(cloud.GetInstanceRequest(node=node))).instance.state
            except ProviderError as error:
                self._failures[key] = self._failures.get(key, 0) + 1
                return Again(max(self._backoff.delay(self._failures[key]), error.retry_after_seconds))
        self._failures.pop(key, None)
        try:
            await self._act(node, state)
        except (NotFound, Conflict):
            return Again(0.02)
        return Again(self.context.settings.node_monitor_seconds)

    async def _act(self, known: core.Node, state: cloud.InstanceState | None) -> None:
        """Decides by the node as the server has it: between question and answer it may have come back."""
        node = await self.client.get(core.Node, known.metadata.name)
        if node.metadata.uid != known.metadata.uid:
            return
        step = decide(node, state)
        if step is Step.REMOVE:
            message = f"Deleting node {node.metadata.name} because it does not exist in the cloud provider"
            self.context.recorder.event(node, NORMAL, "DeletingNode", message)
            version = node.metadata.resource_version
            await self.client.delete(core.Node, node.metadata.name, uid=node.metadata.uid, resource_version=version)
        elif step is Step.TAINT:
            await self.client.update(tainted(node, self.context.clock.now()))
        elif step is Step.UNTAINT:
            await self.client.update(untainted(node))

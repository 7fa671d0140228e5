"""Pod garbage collector: looks over all pods now and then, and when a node goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import is_gone
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.keys import Key
from services.controller.attempts import Attempts
from services.controller.controller import Context, Controller
from services.controller.controllers.podgc.decide import Garbage, decide, is_out_of_service
from services.controller.pods import tell_disruption, tell_failed

logger = logging.getLogger(__name__)

# One key stands for the whole cluster.
ALL = Key("", "pods")
# Reason and message of the condition DisruptionTarget.
NODE_GONE = ("DeletionByPodGC", "PodGC: node no longer exists")


class PodGarbageCollector(Controller):
    name = "podgc"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._missing_since: dict[str, float] = {}
        self._nodes = self.watches(core.Node, mapped=lambda node: (ALL,), when=is_gone)
        self._pods = self.reads(core.Pod)
        self.queue.enqueue(ALL)

    async def reconcile(self, key: Key) -> Again | None:
        settings = self.context.settings
        pods = self._pods.list()
        unserved = {node.metadata.name for node in self._nodes.list() if is_out_of_service(node)}
        attempts = Attempts()
        for garbage in decide(pods, await self._lost_nodes(pods), settings.terminated_pod_threshold, unserved):
            with attempts.about(garbage.pod), contextlib.suppress(Conflict):
                await self._delete(garbage)
        now = asyncio.get_running_loop().time()
        due = [since + settings.orphan_quarantine_seconds - now for since in self._missing_since.values()]
        return Again(max(0.05, min([settings.pod_gc_seconds, *(seconds for seconds in due if seconds > 0)])))

    async def _delete(self, garbage: Garbage) -> None:
        pod = garbage.pod.metadata
        logger.info("deleting pod", extra={"pod": f"{pod.namespace}/{pod.name}", "reason": garbage.reason})
        if garbage.disrupted:
            await tell_disruption(self.client, garbage.pod, *NODE_GONE, self.context.clock.now(), fail=True)
        if garbage.unfinished:
            await tell_failed(self.client, garbage.pod)
        await self.client.delete(core.Pod, pod.name, pod.namespace, grace_period_seconds=0, uid=pod.uid)

    async def _lost_nodes(self, pods: list[core.Pod]) -> set[str]:
        """Nodes that pods name and that have been missing for the quarantine, by the server's word."""
        now = asyncio.get_running_loop().time()
        named = {pod.spec.node_name for pod in pods if pod.spec.node_name}
        missing = {name for name in named if self._nodes.get("", name) is None}
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}
        ripe = [name for name, since in self._missing_since.items() if now - since >= self.context.settings.orphan_quarantine_seconds]
        return {name for name in ripe if await self._is_gone(name)}

    async def _is_gone(self, node: str) -> bool:
        try:
            await self.client.get(core.Node, node)
        except NotFound:
            return True
        return False

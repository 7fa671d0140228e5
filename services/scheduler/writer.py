"""Writes decisions to the API: bindings, and the condition of pods that fit nowhere."""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import suppress
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.machinery.errors import TRANSIENT, NotFound, StatusError
from knarr.objects.conditions import condition_patch
from services.scheduler.pod_facts import PodFacts

logger = logging.getLogger(__name__)

POD_SCHEDULED = "PodScheduled"
UNSCHEDULABLE, FAILED = "Unschedulable", "SchedulerError"
ASKED_AGAIN = Backoff(0.1, 5.0)
DISRUPTED, BY_SCHEDULER = "DisruptionTarget", "PreemptionByScheduler"


async def bind(client: Client, pod: PodFacts, node: str) -> None:
    """Binds the pod to the node; raises StatusError, Conflict when it has a node already."""
    binding = core.Binding()
    binding.metadata.namespace, binding.metadata.name, binding.metadata.uid = pod.key.namespace, pod.key.name, pod.uid
    binding.target.kind, binding.target.name = "Node", node
    try:
        await client.create(binding, subresource="binding", name=pod.key.name)
    except TRANSIENT:
        # Only the answer may be lost. Whoever took the pod for waiting before the watch shows its node would give the room to another.
        if not await is_bound(client, pod, node):
            raise


async def is_bound(client: Client, pod: PodFacts, node: str) -> bool:
    """Whether the server says that the pod has this node. As long as it says nothing it is asked again: until then the room is taken."""
    for failures in itertools.count(1):
        try:
            live = await client.get(core.Pod, pod.key.name, pod.key.namespace)
        except TRANSIENT:
            await asyncio.sleep(ASKED_AGAIN.delay(failures))
        except StatusError:
            return False
        else:
            return live.metadata.uid == pod.uid and live.spec.node_name == node
    raise AssertionError("unreachable")


async def report_unschedulable(client: Client, pod: PodFacts, message: str, node: str, clock: Clock, reason: str = UNSCHEDULABLE) -> None:
    """Sets PodScheduled=False with a reason, and the node that is promised, if any; unless the pod says so already."""
    given, generation = pod.pod.status, pod.pod.metadata.generation
    patch = condition_patch(given, POD_SCHEDULED, False, reason=reason, message=message, now=clock.now(), generation=generation)
    if given.nominated_node_name != node:
        patch = {"status": {**(patch["status"] if patch is not None else {}), "nominatedNodeName": node or None}}
    if patch is not None:
        await _patch_status(client, pod, patch)


async def promise(client: Client, pod: PodFacts, node: str) -> None:
    """Says in the pod's status for which node it is meant; an empty one takes that back. A pod that is gone is nobody's loss."""
    with suppress(NotFound):
        await _patch_status(client, pod, {"status": {"nominatedNodeName": node or None}})


async def expect(client: Client, pod: PodFacts, node: str) -> None:
    """Says the same of a pod that is going to be bound once all is ready for it. It is for others to know: whether it can be said makes no
    difference."""
    try:
        await promise(client, pod, node)
    except StatusError as error:
        logger.info("where a pod is going is not told", extra={"pod": str(pod.key), "node": node, "error": str(error)})


async def disrupt(client: Client, pod: PodFacts, clock: Clock) -> None:
    """Says of a pod that it is to go because another one needs the room."""
    given, generation = pod.pod.status, pod.pod.metadata.generation
    words = f"{pod.pod.spec.scheduler_name}: preempting to accommodate a higher priority pod"
    patch = condition_patch(given, DISRUPTED, True, reason=BY_SCHEDULER, message=words, now=clock.now(), generation=generation)
    if patch is not None:
        await _patch_status(client, pod, patch)


async def _patch_status(client: Client, pod: PodFacts, patch: dict[str, Any]) -> None:
    await client.patch(core.Pod, pod.key.name, pod.key.namespace, patch=patch, patch_type="strategic", subresource="status")

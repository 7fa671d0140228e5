"""Writes decisions to the API: bindings, and the condition of pods that fit nowhere."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.machinery.errors import TRANSIENT, StatusError
from knarr.objects.conditions import condition_patch
from services.scheduler.pod_facts import PodFacts

POD_SCHEDULED = "PodScheduled"
UNSCHEDULABLE = "Unschedulable"


async def bind(client: Client, pod: PodFacts, node: str) -> None:
    """Binds the pod to the node; raises StatusError, Conflict when it has a node already."""
    binding = core.Binding()
    binding.metadata.namespace, binding.metadata.name, binding.metadata.uid = pod.key.namespace, pod.key.name, pod.uid
    binding.target.kind, binding.target.name = "Node", node
    try:
        await client.create(binding, subresource="binding", name=pod.key.name)
    except TRANSIENT:
        # Only the answer may be lost. Whoever took the pod for waiting before the watch shows its node would give the room to another.
        if not await _is_bound(client, pod, node):
            raise


async def _is_bound(client: Client, pod: PodFacts, node: str) -> bool:
    """Whether the server says that the pod has this node."""
    try:
        live = await client.get(core.Pod, pod.key.name, pod.key.namespace)
    except StatusError:
        return False
    return live.metadata.uid == pod.uid and live.spec.node_name == node


async def report_unschedulable(client: Client, pod: PodFacts, message: str, clock: Clock) -> None:
    """Sets PodScheduled=False with the reason Unschedulable, unless the pod says so already."""
    given, generation = pod.pod.status, pod.pod.metadata.generation
    patch = condition_patch(given, POD_SCHEDULED, False, reason=UNSCHEDULABLE, message=message, now=clock.now(), generation=generation)
    if patch is not None:
        await client.patch(core.Pod, pod.key.name, pod.key.namespace, patch=patch, patch_type="strategic", subresource="status")

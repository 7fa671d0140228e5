"""Pods by their node and by their claims, and telling a pod that it is about to be deleted from outside."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.index import Index
from knarr.objects.conditions import set_condition
from knarr.objects.keys import Key
from knarr.objects.pods import FAILED, is_finished
from knarr.objects.volumes import claim_names


def claims_of(pod: core.Pod) -> Iterator[Key]:
    """The keys of the claims that a pod's volumes name, or are made from it."""
    for name in claim_names(pod):
        yield Key(pod.metadata.namespace, name)


BY_NODE: Index[core.Pod] = Index("node", lambda pod: [pod.spec.node_name] if pod.spec.node_name else [])
BY_CLAIM: Index[core.Pod] = Index("claim", lambda pod: map(str, claims_of(pod)))


async def tell_disruption(client: Client, pod: core.Pod, reason: str, message: str, now: datetime, *, fail: bool = False) -> None:
    """Says in a pod's conditions that it is about to be deleted from outside, and by whom.

    ``fail``: nobody else will ever say how it ended, so that is said too. StatusError NotFound: it is gone.
    """
    live = await _unfinished(client, pod)
    if live is None:
        return
    generation = live.metadata.generation
    changed = set_condition(live.status, "DisruptionTarget", "True", reason=reason, message=message, now=now, generation=generation)
    if fail:
        live.status.phase, live.status.observed_generation = FAILED, generation
    if changed or fail:
        await client.update(live, subresource="status")


async def tell_failed(client: Client, pod: core.Pod) -> None:
    """Says that a pod has ended, where nobody else ever will. StatusError NotFound: it is gone."""
    live = await _unfinished(client, pod)
    if live is not None:
        live.status.phase, live.status.observed_generation = FAILED, live.metadata.generation
        await client.update(live, subresource="status")


async def _unfinished(client: Client, pod: core.Pod) -> core.Pod | None:
    """The pod as it is now; None where it has ended, or another one has its name."""
    live = await client.get(core.Pod, pod.metadata.name, pod.metadata.namespace)
    return None if live.metadata.uid != pod.metadata.uid or is_finished(live) else live

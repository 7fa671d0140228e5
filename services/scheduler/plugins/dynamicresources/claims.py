"""A pod's claims to devices, sorted by what the scheduler has to do about each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.devices import NotMadeYet, claim_name, has_place, is_allocated, is_reserved_for, strange
from knarr.objects.keys import is_deleting
from knarr.objects.node_selection import matches_selector
from services.scheduler.plugin import Cluster, Impossible
from services.scheduler.plugins.dynamicresources.wishes import Wish, wish_of
from services.scheduler.pod_facts import PodFacts


@dataclass(slots=True)
class Claims:
    """``allocated`` are those that have devices; ``pending`` wait for some, and ``wishes`` are what for."""

    allocated: list[Any] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)


def claims_of(pod: PodFacts, cluster: Cluster) -> Claims:
    """Raises Impossible."""
    found = Claims()
    for entry in pod.pod.spec.resource_claims:
        claim = _claim(pod, entry, cluster)
        if claim is None:
            continue
        if is_allocated(claim):
            if not has_place(claim) and not is_reserved_for(claim, pod.pod):
                raise Impossible("resourceclaim in use")
            found.allocated.append(claim)
        else:
            found.pending.append(claim)
            found.wishes.append(wish_of(claim, cluster))
    return found


def _claim(pod: PodFacts, entry: Any, cluster: Cluster) -> Any:
    """None where the pod turned out to need none. Raises Impossible."""
    try:
        name = claim_name(pod.pod, entry)
    except NotMadeYet as error:
        raise Impossible(str(error)) from None
    if not name:
        return None
    claim = cluster.get(resource.ResourceClaim, pod.key.namespace, name)
    if claim is None:
        raise Impossible(f'resourceclaim.resource.k8s.io "{name}" not found')
    if is_deleting(claim):
        raise Impossible(f'resourceclaim "{name}" is being deleted')
    if entry.resource_claim_template_name and (why := strange(pod.pod, claim)):
        raise Impossible(why)
    if cluster.is_pending(claim):
        raise Impossible(f"resource claim {pod.key.namespace}/{name} is in the process of being allocated")
    return claim


def is_there(claim: Any, node: Any) -> bool:
    """Whether a node reaches the devices that a claim has."""
    found = claim.status.allocation
    return not found.HasField("node_selector") or matches_selector(found.node_selector, node)

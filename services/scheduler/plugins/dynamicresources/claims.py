"""A pod's claims to devices, sorted by what the scheduler has to do about each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.devices import NotMadeYet, claim_name, has_place, is_allocated, is_reserved_for, strange
from knarr.objects.keys import is_deleting
from knarr.objects.node_selection import matches_selector
from knarr.objects.owners import is_controlled_by
from services.scheduler.backing import backing, offers
from services.scheduler.plugin import Cluster, Impossible
from services.scheduler.plugins.dynamicresources import extended
from services.scheduler.plugins.dynamicresources.wishes import Wish, wish_of
from services.scheduler.pod_facts import PodFacts


@dataclass(slots=True)
class Claims:
    """``allocated`` are those that have devices; ``pending`` wait for some, and ``wishes`` are what for."""

    allocated: list[Any] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    # Whether one of them is for extended resources.
    extended: bool = False


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
    if pod.extended and (made := _made(pod, cluster)) is not None:
        found.allocated.append(made)
        found.extended = True
    return found


def _made(pod: PodFacts, cluster: Cluster) -> Any:
    """The claim that was made for a pod's extended resources, where it has devices. Raises Impossible."""
    claim = cluster.get(resource.ResourceClaim, pod.key.namespace, extended.claim_name(pod.pod))
    if claim is None or not is_controlled_by(claim, pod.pod):
        return None
    if is_deleting(claim):
        raise Impossible(f'resourceclaim "{claim.metadata.name}" is being deleted')
    if cluster.is_pending(claim):
        raise Impossible(f"resource claim {pod.key.namespace}/{claim.metadata.name} is in the process of being allocated")
    return claim if is_allocated(claim) else None


class Variants:
    """A pod's claims as each node has them: where it does not offer an extended resource by itself, one more for devices."""

    def __init__(self, pod: PodFacts, cluster: Cluster) -> None:
        """Raises Impossible."""
        self._pod, self._cluster = pod, cluster
        self._claims = claims_of(pod, cluster)
        self._classes = {} if self._claims.extended else backing(pod, cluster)
        self._known: dict[tuple[str, ...], Claims] = {(): self._claims}

    @property
    def common(self) -> Claims:
        """Those that all nodes have."""
        return self._claims

    def of(self, node: Any) -> Claims:
        missing = tuple(name for name in self._classes if not offers(node, name))
        if (known := self._known.get(missing)) is None:
            claim, base = extended.extended_claim(self._pod.pod, self._classes, missing), self._claims
            pending, wishes = [*base.pending, claim], [*base.wishes, wish_of(claim, self._cluster)]
            known = self._known[missing] = Claims(base.allocated, pending, wishes, extended=True)
        return known


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

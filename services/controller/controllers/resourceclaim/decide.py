"""Claims to devices: which a pod wants made, and for whom one is kept. Pure; specified by Kubernetes' resource claim controller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.copies import copy_of
from knarr.objects.devices import POD_CLAIM, claim_name, has_place, is_allocated, is_done, is_reserved_for, strange
from knarr.objects.keys import is_deleting
from knarr.objects.owners import owner_reference

# Of a name, before what the server adds to it.
MOST_LETTERS = 57


def is_made_for(pod: core.Pod, entry: core.PodResourceClaim, claims: Mapping[str, resource.ResourceClaim]) -> bool:
    """Whether the claim that an entry asks for is there and the pod's, and the pod says so. ``claims``: by name."""
    recorded = next((made for made in pod.status.resource_claim_statuses if made.name == entry.name), None)
    if recorded is None:
        return False
    found = claims.get(recorded.resource_claim_name)
    # One without a name was found not to be needed.
    return not recorded.resource_claim_name or (found is not None and not strange(pod, found))


def to_make(pod: core.Pod, claims: Mapping[str, resource.ResourceClaim]) -> Iterator[core.PodResourceClaim]:
    """The entries of a pod that claims are to be made for, or noted in its status."""
    if is_deleting(pod) or is_done(pod):
        return
    for entry in pod.spec.resource_claims:
        if entry.resource_claim_template_name and not is_made_for(pod, entry, claims):
            yield entry


def made_before(entry: core.PodResourceClaim, owned: Iterable[resource.ResourceClaim]) -> resource.ResourceClaim | None:
    """Of the claims that are a pod's the one that was made for an entry, if any; the first by name."""
    found = (claim for claim in owned if claim.metadata.annotations.get(POD_CLAIM) == entry.name)
    return min(found, key=lambda claim: str(claim.metadata.name), default=None)


def claim_of(pod: core.Pod, entry: core.PodResourceClaim, template: resource.ResourceClaimTemplate) -> resource.ResourceClaim:
    made = resource.ResourceClaim(spec=template.spec.spec)
    made.metadata.namespace, made.metadata.generate_name = pod.metadata.namespace, _name(pod.metadata.name, entry.name)
    made.metadata.labels.update(template.spec.metadata.labels)
    made.metadata.annotations.update(template.spec.metadata.annotations)
    made.metadata.annotations[POD_CLAIM] = entry.name
    made.metadata.owner_references.append(owner_reference(pod))
    return made


def noted(pod: core.Pod, names: Mapping[str, str]) -> core.Pod:
    """The pod with the names of claims in its status, by the entries that they are for."""
    changed = copy_of(pod)
    known = {made.name: made for made in changed.status.resource_claim_statuses}
    for entry, name in names.items():
        made = known[entry] if entry in known else changed.status.resource_claim_statuses.add(name=entry)
        made.resource_claim_name = name
    return changed


def to_reserve(pod: core.Pod, claims: Mapping[str, resource.ResourceClaim]) -> Iterator[resource.ResourceClaim]:
    """What a pod uses that has a node, whoever gave it that: claims that have devices, and are not kept for it."""
    if not pod.spec.node_name or is_deleting(pod) or is_done(pod):
        return
    for entry in pod.spec.resource_claims:
        recorded = {made.name for made in pod.status.resource_claim_statuses}
        if entry.resource_claim_template_name and entry.name not in recorded:
            continue
        claim = claims.get(claim_name(pod, entry))
        if claim is None or (entry.resource_claim_template_name and strange(pod, claim)):
            continue
        if is_allocated(claim) and not is_reserved_for(claim, pod) and has_place(claim) and not is_deleting(claim):
            yield claim


def _name(pod: str, entry: str) -> str:
    """What a claim's name begins with: of the pod and the entry as much as there is room for, of both alike."""
    whole = f"{pod}-{entry}-"
    if len(whole) <= MOST_LETTERS:
        return whole
    letters, others = (max(1, len(part) * MOST_LETTERS // len(whole)) for part in (pod, entry))
    return f"{pod[:letters]}-{entry[:others]}"

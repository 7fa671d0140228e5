"""A pod goes where its claims to devices can be had: to a node that reaches those that they have, or enough that are free.

Which devices those are is decided with the node: structured parameters of Kubernetes' dynamic resource allocation.
https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.copies import copy_of
from knarr.objects.devices import claim_names, is_allocated, take_back
from knarr.objects.owners import owner_reference
from services.scheduler.backing import BACKED_BY, backing
from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.parts import NODE_ALLOCATABLE, NODE_LABELS, NODE_NAME, Part, Subject
from services.scheduler.plugin import Change, Cluster, Impossible, Plugin, Release, Scores, normalized, why_impossible
from services.scheduler.plugins.dynamicresources.arguments import DynamicResourcesArgs
from services.scheduler.plugins.dynamicresources.binding import DeviceBinding, Lost, given
from services.scheduler.plugins.dynamicresources.claims import Variants, claims_of, is_there
from services.scheduler.plugins.dynamicresources.wishes import Wish
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preparation import Preparation
from services.scheduler.ruled import ToldTogether

if TYPE_CHECKING:
    from services.scheduler.plugins.dynamicresources.allocator import Allocator, Outcome

RELEASED = "deallocation of ResourceClaim completed,"
# The best that a request can count, which has the first of its alternatives.
MOST_ALTERNATIVES = 8


class DynamicResources(ToldTogether, Plugin):
    name: ClassVar[str] = "DynamicResources"
    concerned_by: ClassVar[frozenset[str]] = frozenset({"devices"})
    weight: ClassVar[int] = 2
    reads: ClassVar[frozenset[Part]] = BACKED_BY | frozenset(
        {
            NODE_ALLOCATABLE,
            NODE_LABELS,
            NODE_NAME,
            Part(Subject.POD, "spec.resourceClaims"),
            Part(Subject.POD, "spec.containers"),
            Part(Subject.POD, "spec.initContainers"),
            Part(Subject.POD, "status.resourceClaimStatuses"),
            Part(Subject.POD, "status.extendedResourceClaimStatus"),
            Part(Subject.DEVICE_CLAIM, "spec.devices"),
            Part(Subject.DEVICE_CLAIM, "status.allocation"),
            Part(Subject.DEVICE_CLAIM, "status.reservedFor"),
            Part(Subject.DEVICE_CLAIM, "metadata.deletionTimestamp"),
            Part(Subject.DEVICE_CLAIM, "metadata.ownerReferences"),
            Part(Subject.DEVICE_CLASS, "spec.selectors"),
            Part(Subject.DEVICE_TAINT_RULE, "spec"),
            Part(Subject.RESOURCE_SLICE, "spec"),
        }
    )
    Args: ClassVar[type[Any] | None] = DynamicResourcesArgs

    def __init__(self, cluster: Cluster, args: DynamicResourcesArgs | None = None) -> None:
        super().__init__(cluster)
        self._args = args or DynamicResourcesArgs()

    @cached_property
    def _allocator(self) -> Allocator:
        # A cluster whose pods have no claims to devices does without the search for them.
        from services.scheduler.plugins.dynamicresources.allocator import Allocator

        return Allocator(self.cluster, self._args.filter_timeout)

    def impossible(self, pod: PodFacts) -> str:
        return why_impossible(lambda: claims_of(pod, self.cluster))

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        if not pod.devices:
            return None
        mask, judge = np.zeros(nodes.size, np.bool_), self._judge(pod)
        for row in np.flatnonzero(nodes.alive[: nodes.size]).tolist():
            mask[row] = not isinstance(judge(nodes.node(row)), str)
        return mask

    def accepts(self, pod: PodFacts, nodes: Nodes, row: int) -> bool:
        return not pod.devices or not isinstance(self._judge(pod)(nodes.node(row)), str)

    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        judge = self._judge(pod)
        return [[str(judge(nodes.node(row)))] for row in rows.tolist()]

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        """Where earlier alternatives can be had is better."""
        if not pod.devices:
            return None
        try:
            variants = Variants(pod, self.cluster)
        except Impossible:
            return None
        if all(len(request) == 1 for wish in variants.common.wishes for request in wish.requests):
            return None
        judge, found = self._judge_by(variants), [nodes.node(row) for row in rows.tolist()]
        return normalized(np.array([_preference(variants.of(node).wishes, judge(node)) for node in found], np.int64))

    def prepare(self, pod: PodFacts, node: core.Node) -> Preparation | None:
        if not pod.devices:
            return None
        try:
            variants = Variants(pod, self.cluster)
        except Impossible:
            return Lost()
        claims, found = variants.of(node), self._judge_by(variants)(node)
        if isinstance(found, str):
            return Lost()
        wanted = [given(claim, pod.pod, None) for claim in claims.allocated]
        for claim in claims.pending:
            if not claim.metadata.uid:
                claim.metadata.owner_references.append(owner_reference(pod.pod))
        allocations = self._allocator.allocations(claims, found, node.metadata.name)
        wanted += [given(claim, pod.pod, one) for claim, one in zip(claims.pending, allocations, strict=True)]
        return DeviceBinding(self.cluster, pod.pod, wanted, self._args.binding_timeout) if wanted else None

    def release(self, pod: PodFacts, nodes: Nodes) -> Release | None:
        if not pod.devices:
            return None
        try:
            claims = claims_of(pod, self.cluster)
        except Impossible:
            return None
        rows = np.flatnonzero(nodes.alive[: nodes.size]).tolist()
        for claim in claims.allocated:
            idle = {consumer.uid for consumer in claim.status.reserved_for} <= {pod.uid}
            if idle and not all(is_there(claim, nodes.node(row)) for row in rows):
                free = copy_of(claim)
                take_back(free)
                return Release(RELEASED, free)
        return None

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        if change.row is not None:
            return self.accepts(pod, nodes, change.row)
        if change.old is None and change.new is None:
            return not self.impossible(pod)
        match change.new if change.new is not None else change.old:
            case resource.ResourceClaim():
                return self._claim_helps(pod, change)
            case resource.DeviceClass() as found:
                return change.new is not None and found.metadata.name in self._classes(pod)
            case resource.ResourceSlice():
                return change.new is not None and bool(self._classes(pod))
            case resource.DeviceTaintRule():
                return change.old is not None and bool(self._classes(pod))
        return True

    def _judge(self, pod: PodFacts) -> Callable[[Any], Outcome]:
        """What a node has for a pod; of one for which no node whatever will do the words why."""
        try:
            return self._judge_by(Variants(pod, self.cluster))
        except Impossible as error:
            words = str(error)
            return lambda _: words

    def _judge_by(self, variants: Variants) -> Callable[[Any], Outcome]:
        judges: dict[int, Callable[[Any], Outcome]] = {}

        def judge(node: Any) -> Outcome:
            claims = variants.of(node)
            if (known := judges.get(id(claims))) is None:
                known = judges[id(claims)] = self._allocator.judge(claims)
            return known(node)

        return judge

    def _claim_helps(self, pod: PodFacts, change: Change) -> bool:
        """One of its own that came or got another status; and devices that are free now."""
        old, new = change.old, change.new
        assert old is None or isinstance(old, resource.ResourceClaim)
        assert new is None or isinstance(new, resource.ResourceClaim)
        if old is not None and is_allocated(old) and (new is None or not is_allocated(new)):
            return not self.impossible(pod)
        if new is None or new.metadata.namespace != pod.key.namespace or new.metadata.name not in claim_names(pod.pod):
            return False
        return (old is None or old.status != new.status) and not self.impossible(pod)

    def _classes(self, pod: PodFacts) -> frozenset[str]:
        """The classes of what the pod's claims wait for."""
        names = set[str]()
        for name in claim_names(pod.pod):
            claim = self.cluster.get(resource.ResourceClaim, pod.key.namespace, name)
            for request in claim.spec.devices.requests if claim is not None and not is_allocated(claim) else ():
                names.add(request.exactly.device_class_name)
                names.update(one.device_class_name for one in request.first_available)
        return frozenset(names - {""}).union(backing(pod, self.cluster).values())


def _preference(wishes: Sequence[Wish], found: Outcome) -> int:
    if isinstance(found, str):
        return 0
    total = 0
    for wish, devices in zip(wishes, found, strict=True):
        taken = {one.alternative for one in devices}
        for request in wish.requests:
            if len(request) > 1 or "/" in request[0].name:
                total += sum(MOST_ALTERNATIVES - at for at, one in enumerate(request) if one in taken)
    return total

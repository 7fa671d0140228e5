"""What a namespace's LimitRanges say of its pods and claims: amounts for those who say none, and bounds for all.

Specified by Kubernetes' plugin. Of what is changed only amounts that are not what they were are held to the bounds: a range that comes
later makes nothing that is stored unchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.keys import is_deleting
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.limit_ranger.bounds import claim_refusals, pod_refusals
from services.apiserver.admission.limit_ranger.defaults import fill_in
from services.apiserver.admission.refusals import refused
from services.apiserver.backend import Backend
from services.apiserver.storage.keys import collection_prefix

RANGES, PODS, CLAIMS = (version_of(kind).resource for kind in (core.LimitRange, core.Pod, core.PersistentVolumeClaim))
# Each amount of each of them is given to, or held against, each container.
MAX_RANGES, MAX_AMOUNTS = 100, 20_000
HANDLED = {(PODS, CREATE, ""), (PODS, UPDATE, "resize"), (CLAIMS, CREATE, ""), (CLAIMS, UPDATE, "")}


class LimitRanger:
    name: ClassVar[str] = "LimitRanger"

    def __init__(self, backend: Backend) -> None:
        self._cache = backend.cache

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return (resource, operation, subresource) in HANDLED

    async def mutate(self, attributes: Attributes) -> bool:
        if attributes.resource is not PODS or _is_going(attributes):
            return False
        changed = False
        for found in self._ranges(attributes):
            changed |= fill_in(attributes.obj, found)
        return changed

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden with all that the first range refuses."""
        if _is_going(attributes):
            return
        judge = pod_refusals if attributes.resource is PODS else claim_refusals
        for found in self._ranges(attributes):
            # Two containers may err in the same way.
            words = list(dict.fromkeys(judge(found, attributes.obj, attributes.old)))
            if words:
                raise refused(attributes, words[0] if len(words) == 1 else f"[{', '.join(words)}]")

    def _ranges(self, attributes: Attributes) -> Sequence[core.LimitRange]:
        """Those of the namespace, only to be read, in the order of their names. Raises Forbidden for too much to look at."""
        collection = self._cache.collection(RANGES)
        entries = collection.listing(collection_prefix(RANGES, attributes.namespace)) if len(collection) else ()
        if not len(entries):
            return ()
        if len(entries) <= MAX_RANGES:
            ranges = [entry.shared_message for entry in entries]
            spec = attributes.obj.spec
            containers = len(spec.containers) + len(spec.init_containers) if attributes.resource is PODS else 1
            if containers * sum(map(_amounts, ranges)) <= MAX_AMOUNTS:
                return ranges
        limits = f"more than {MAX_RANGES} LimitRanges, or {MAX_AMOUNTS} amounts in them for all containers"
        raise refused(attributes, f"its namespace has {limits}")


def _amounts(found: core.LimitRange) -> int:
    """How many it names."""
    return sum(len(amounts) for item in found.spec.limits for _, amounts in item.ListFields() if not isinstance(amounts, str))


def _is_going(attributes: Attributes) -> bool:
    return attributes.old is not None and is_deleting(attributes.old)

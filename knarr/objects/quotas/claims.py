"""PersistentVolumeClaims: their number and the storage that they ask for, of each storage class too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import ROUND_CEILING

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.quantity import Quantity
from knarr.objects.quotas.evaluator import Evaluator, counted, selects
from knarr.objects.totals import ONE, Totals, exactly
from knarr.objects.volumes import storage_class_of

COUNT, CLAIMS, STORAGE = counted("", "persistentvolumeclaims"), "persistentvolumeclaims", "requests.storage"
OF_CLASS = ".storageclass.storage.k8s.io/"


class ClaimEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__(COUNT, CLAIMS, STORAGE)

    def tracks(self, name: str) -> bool:
        return super().tracks(name) or name.endswith((OF_CLASS + CLAIMS, OF_CLASS + STORAGE))

    def usage(self, obj: core.PersistentVolumeClaim, now: datetime) -> Totals:
        used, storage, named = {COUNT: ONE, CLAIMS: ONE}, _storage(obj), storage_class_of(obj)
        if storage is not None:
            used[STORAGE] = storage
        for name in (CLAIMS, STORAGE) if named else ():
            if name in used:
                used[named + OF_CLASS + name] = used[name]
        return used

    def in_scope(self, rule: core.ScopedResourceSelectorRequirement, obj: core.PersistentVolumeClaim) -> bool:
        if rule.scope_name != "VolumeAttributesClass":
            return False
        return any(selects(rule, name) for name in set(_attributes_classes(obj)) or {""})


def _storage(claim: core.PersistentVolumeClaim) -> Quantity | None:
    """In whole bytes; while a volume grows, what it is given already if that is more."""
    requests, given = claim.spec.resources.requests, claim.status.allocated_resources
    if "storage" not in requests:
        return None
    found = exactly(requests["storage"])
    if "storage" in given and (other := exactly(given["storage"])) > found:
        found = other
    return Quantity(found.value.to_integral_value(ROUND_CEILING), found.notation)


def _attributes_classes(claim: core.PersistentVolumeClaim) -> Iterator[str]:
    """Those that it has, and those that it shall have."""
    status = claim.status
    names = claim.spec.volume_attributes_class_name, status.current_volume_attributes_class_name
    yield from filter(None, (*names, status.modify_volume_status.target_volume_attributes_class_name))

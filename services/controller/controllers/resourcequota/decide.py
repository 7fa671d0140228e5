"""What a ResourceQuota should say of itself. Specified by Kubernetes' controller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.quantity import Quantity
from knarr.objects.peaks import add
from knarr.objects.quotas.evaluator import Evaluator
from knarr.objects.quotas.quota import covers
from knarr.objects.totals import ZERO, Totals, fill, only, totals


def usage(quota: core.ResourceQuota, evaluator: Evaluator, names: Sequence[str], objects: Iterable[Any], now: datetime) -> Totals:
    """What objects of one resource use of the amounts ``names``."""
    used: Totals = dict.fromkeys(names, ZERO)
    for obj in objects:
        if covers(quota, evaluator, obj):
            add(used, only(evaluator.usage(obj, now), names))
    return used


def decide(quota: core.ResourceQuota, counted: Mapping[str, Quantity]) -> core.ResourceQuotaStatus | None:
    """The status, given all that could be counted; what could not keeps what it was. None when that is what it says."""
    hard = totals(quota.spec.hard)
    used = only({**totals(quota.status.used), **counted}, hard)
    if quota.HasField("status") and totals(quota.status.hard) == hard and totals(quota.status.used) == used:
        return None
    wanted = core.ResourceQuotaStatus()
    fill(wanted.hard, hard)
    fill(wanted.used, used)
    return wanted

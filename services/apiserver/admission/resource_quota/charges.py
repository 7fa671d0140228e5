"""What an object costs the quotas of its namespace, or why it may not be had. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.quantity import Quantity
from knarr.objects.peaks import add
from knarr.objects.quotas.evaluator import Evaluator
from knarr.objects.quotas.quota import covers, tracked
from knarr.objects.totals import Totals, only, totals

NOTHING = Decimal(0)


class Refusal(Exception):
    """Why a quota does not allow it."""


def charge(evaluator: Evaluator, quotas: Sequence[core.ResourceQuota], obj: Any, old: Any, now: datetime) -> dict[str, Totals]:
    """By the names of the quotas that change: what is used of them afterwards. ``old`` is what is stored, if anything.

    Raises Refusal."""
    concerned = [(quota, names) for quota in quotas if (names := tracked(evaluator, quota.status.hard)) and covers(quota, evaluator, obj)]
    for quota, names in concerned:
        _check_known(evaluator, quota, names, obj)
    usage = _usage(evaluator, obj, now)
    before = evaluator.usage(old, now) if old is not None and concerned else {}
    charged: dict[str, Totals] = {}
    for quota, _ in concerned:
        # What comes into a quota's scope is charged as a whole.
        asked = only(_more(usage, before if old is not None and covers(quota, evaluator, old) else {}), quota.status.hard)
        if asked:
            charged[quota.metadata.name] = _used_with(quota, asked)
    return charged


def _check_known(evaluator: Evaluator, quota: core.ResourceQuota, names: Iterable[str], obj: Any) -> None:
    """That the object says what the quota asks of it, and that it is known what is used."""
    if lacking := evaluator.missing(names, obj):
        raise Refusal(f"failed quota: {quota.metadata.name}: {lacking}")
    if any(name not in quota.status.used for name in names):
        raise Refusal(f"status unknown for quota: {quota.metadata.name}, resources: {','.join(sorted(names))}")


def _usage(evaluator: Evaluator, obj: Any, now: datetime) -> Totals:
    usage = evaluator.usage(obj, now)
    if negative := sorted(name for name, amount in usage.items() if amount.value < NOTHING):
        raise Refusal(f"quota usage is negative for resource(s): {','.join(negative)}")
    return usage


def _more(usage: Totals, before: Totals) -> Totals:
    """What it uses more than before; what it uses less is given back by a controller, which has seen it stored."""
    grown = {name: amount - before[name] if name in before else amount for name, amount in usage.items()}
    return {name: amount for name, amount in grown.items() if amount.value > NOTHING}


def _used_with(quota: core.ResourceQuota, asked: Totals) -> Totals:
    """What is used of a quota when it is charged. Raises Refusal for more than there is."""
    used, hard = totals(quota.status.used), totals(quota.status.hard)
    after = dict(used)
    add(after, asked)
    exceeded = [name for name in asked if after[name] > hard[name]]
    if exceeded:
        told = (f"{word}: {_shown(amounts, exceeded)}" for word, amounts in (("requested", asked), ("used", used), ("limited", hard)))
        raise Refusal(f"exceeded quota: {quota.metadata.name}, {', '.join(told)}")
    return after


def _shown(amounts: Mapping[str, Quantity], names: Iterable[str]) -> str:
    return ",".join(f"{name}={amounts[name]}" for name in sorted(names))

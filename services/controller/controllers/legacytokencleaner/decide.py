"""LegacyTokenCleaner: which tokens of accounts nobody uses, and what becomes of them. Pure; Kubernetes' rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects.account_tokens import ACCOUNT_UID, DAY, INVALID_SINCE, LAST_USED, day
from knarr.objects.keys import is_deleting


@dataclass(frozen=True, slots=True)
class Mark:
    """The token is taken no longer, from this day on."""

    since: str


@dataclass(frozen=True, slots=True)
class Delete:
    """It was marked for long enough, and nobody missed it."""


def is_unused(secret: core.Secret, account: core.ServiceAccount | None, now: datetime, period: timedelta) -> bool:
    """Whether it is an account's own, and was not used within ``period`` as far as is known. What pods name is not looked at.

    One that its account does not list was made by hand, and is left alone for ever.
    """
    metadata = secret.metadata
    if is_deleting(secret) or to_datetime(metadata.creation_timestamp) >= now - period:
        return False
    if LAST_USED in metadata.labels:
        used = day(metadata.labels[LAST_USED])
        # What is no day says nothing.
        if used is None or used >= _today(now - period):
            return False
    if account is None or metadata.annotations.get(ACCOUNT_UID, "") not in ("", account.metadata.uid):
        return False
    return any(found.name == metadata.name for found in account.secrets)


def decide(secret: core.Secret, since: str, now: datetime, period: timedelta) -> Mark | Delete | None:
    """About one that ``is_unused`` and that no pod names. ``since``: the day from which on uses are noted; what is no day is none."""
    begun = day(since)
    # That day may not have been noted as a whole.
    if begun is None or now < datetime.combine(begun, datetime.min.time(), UTC) + timedelta(days=1) + period:
        return None
    invalid = day(secret.metadata.labels.get(INVALID_SINCE, ""))
    if invalid is None:
        return Mark(now.strftime(DAY))
    return Delete() if invalid < _today(now - period) else None


def _today(moment: datetime) -> date:
    return moment.astimezone(UTC).date()

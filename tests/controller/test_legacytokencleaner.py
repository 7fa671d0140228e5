"""Which tokens nobody uses, and what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.times import to_time
from knarr.objects.account_tokens import ACCOUNT, ACCOUNT_UID, INVALID_SINCE, LAST_USED, TYPE, day
from services.controller.controllers.legacytokencleaner.decide import Delete, Mark, decide, is_unused

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
PERIOD = timedelta(days=365)


def account(*secrets: str) -> core.ServiceAccount:
    made = core.ServiceAccount(metadata=meta.ObjectMeta(name="robot", namespace="default", uid="uid-robot"))
    for name in secrets:
        made.secrets.add(name=name)
    return made


def secret(age_days: float = 400, **labels: str) -> core.Secret:
    made = core.Secret(metadata=meta.ObjectMeta(name="key", namespace="default"), type=TYPE)
    made.metadata.annotations[ACCOUNT] = "robot"
    made.metadata.creation_timestamp.CopyFrom(to_time(NOW - timedelta(days=age_days)))
    made.metadata.labels.update({{"used": LAST_USED, "invalid": INVALID_SINCE}[name]: value for name, value in labels.items()})
    return made


@pytest.mark.parametrize(
    ("found", "unused"),
    [
        pytest.param(secret(), True, id="never used"),
        pytest.param(secret(365), False, id="young"),
        pytest.param(secret(used="2025-06-14"), True, id="used a year and a day ago"),
        pytest.param(secret(used="2025-06-15"), False, id="used on the day a year ago"),
        pytest.param(secret(used="yesterday"), False, id="used on no day"),
        pytest.param(secret(used="2025-6-1"), False, id="used on a day of another form"),
    ],
)
def test_a_token_is_unused(found: core.Secret, unused: bool) -> None:
    assert is_unused(found, account("other", "key"), False, NOW, PERIOD) is unused


def test_only_an_accounts_own_is_ever_unused() -> None:
    found = secret()
    assert not is_unused(found, account("other"), False, NOW, PERIOD)
    assert not is_unused(found, None, False, NOW, PERIOD)
    assert not is_unused(found, account("key"), True, NOW, PERIOD)
    found.metadata.annotations[ACCOUNT_UID] = "uid-robot"
    assert is_unused(found, account("key"), False, NOW, PERIOD)
    found.metadata.annotations[ACCOUNT_UID] = "uid-of-one-before"
    assert not is_unused(found, account("key"), False, NOW, PERIOD)


def test_one_that_is_being_deleted_is_left_alone() -> None:
    found = secret()
    found.metadata.deletion_timestamp.CopyFrom(to_time(NOW))
    assert not is_unused(found, account("key"), False, NOW, PERIOD)


@pytest.mark.parametrize(
    ("since", "invalid", "step"),
    [
        ("2025-06-13", "", Mark("2026-06-15")),
        # A year after the day that was noted as a whole.
        ("2025-06-14", "", Mark("2026-06-15")),
        ("2025-06-15", "", None),
        ("", "", None),
        ("long ago", "", None),
        ("2020-01-01", "some day", Mark("2026-06-15")),
        ("2020-01-01", "2025-06-15", None),
        ("2020-01-01", "2025-06-14", Delete()),
        ("2025-06-15", "2020-01-01", None),
    ],
)
def test_what_becomes_of_an_unused_one(since: str, invalid: str, step: Mark | Delete | None) -> None:
    found = secret(invalid=invalid) if invalid else secret()
    assert decide(found, since, NOW, PERIOD) == step


@pytest.mark.parametrize("text", ["", "2026", "2026-1-1", "20260101", "2026-W01-1", "2026-02-30", "2026-01-01 ", "x"])
def test_what_is_no_day(text: str) -> None:
    assert day(text) is None

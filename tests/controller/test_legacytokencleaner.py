"""Which tokens nobody uses, and what becomes of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.times import to_time
from knarr.objects.account_tokens import (
    ACCOUNT,
    ACCOUNT_UID,
    DAY,
    INVALID_SINCE,
    LAST_USED,
    SINCE,
    TRACKING_NAME,
    TRACKING_NAMESPACE,
    TYPE,
    day,
)
from services.controller.controllers.legacytokencleaner.controller import LOOK_SECONDS, LegacyTokenCleanerController
from services.controller.controllers.legacytokencleaner.decide import Delete, Mark, decide, is_unused
from tests.controller.cluster import cluster
from tests.controller.objects import pod
from tests.support.virtual_time import START, virtual_time

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
    assert is_unused(found, account("other", "key"), NOW, PERIOD) is unused


def test_only_an_accounts_own_is_ever_unused() -> None:
    found = secret()
    assert not is_unused(found, account("other"), NOW, PERIOD)
    assert not is_unused(found, None, NOW, PERIOD)
    found.metadata.annotations[ACCOUNT_UID] = "uid-robot"
    assert is_unused(found, account("key"), NOW, PERIOD)
    found.metadata.annotations[ACCOUNT_UID] = "uid-of-one-before"
    assert not is_unused(found, account("key"), NOW, PERIOD)


def test_one_that_is_being_deleted_is_left_alone() -> None:
    found = secret()
    found.metadata.deletion_timestamp.CopyFrom(to_time(NOW))
    assert not is_unused(found, account("key"), NOW, PERIOD)


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


@virtual_time
async def test_what_nobody_uses_and_no_pod_names_is_marked_and_what_stayed_so_is_deleted() -> None:
    async with cluster(kubelet=False, controllers=(LegacyTokenCleanerController,)) as c:
        tracking = meta.ObjectMeta(name=TRACKING_NAME, namespace=TRACKING_NAMESPACE)
        c.api.seed(account("idle", "forgotten", "named"), core.ConfigMap(metadata=tracking, data={SINCE: "2020-01-01"}))
        for name in ("idle", "forgotten", "named", "by-hand"):
            made = secret(3000, invalid="2020-01-01") if name == "forgotten" else secret(3000)
            made.metadata.name = name
            c.api.seed(made)
        reader = pod("reader")
        reader.spec.volumes.add(name="key").volume_source.secret.secret_name = "named"
        c.api.seed(reader)

        def told() -> dict[str, str]:
            return {found.metadata.name: found.metadata.labels.get(INVALID_SINCE, "") for found in c.api.all(core.Secret)}

        today, tomorrow = START.strftime(DAY), (START + timedelta(seconds=LOOK_SECONDS)).strftime(DAY)
        await c.until(lambda: told() == {"idle": today, "named": "", "by-hand": ""})
        await c.client.delete(core.Pod, "reader", "default", grace_period_seconds=0)
        await asyncio.sleep(LOOK_SECONDS + 1)
        assert told() == {"idle": today, "named": tomorrow, "by-hand": ""}

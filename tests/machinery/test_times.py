"""Moments as messages and as dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.times import seconds_after, to_datetime, to_micro_time, to_time

NOW = datetime(2026, 11, 30, 16, 40, 2, 123_456, tzinfo=UTC)


def test_a_moment_is_the_same_there_and_back() -> None:
    assert to_datetime(to_micro_time(NOW)) == NOW
    assert to_datetime(to_time(NOW)) == NOW.replace(microsecond=0)


@pytest.mark.parametrize("seconds", [2**63 - 1, 2**62, 253_402_300_800])
def test_what_is_later_than_any_date_is_the_last_one(seconds: int) -> None:
    """Over gRPC a client may say any number; whoever reads one must not fail by it."""
    assert to_datetime(meta.Time(seconds=seconds)) == datetime.max.replace(tzinfo=UTC)
    assert to_datetime(meta.Time(seconds=-seconds)) == datetime.min.replace(tzinfo=UTC)


def test_what_lasts_longer_than_there_are_dates_never_ends() -> None:
    assert seconds_after(NOW, 60) == NOW + timedelta(seconds=60)
    assert seconds_after(NOW, 2**63 - 1) is None and seconds_after(NOW, 10**12) is None and seconds_after(NOW, -(10**12)) is None

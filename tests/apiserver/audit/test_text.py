"""Moments as Kubernetes writes them, held to the library's way to write them."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.apiserver.audit.text import SECOND_NS, stamps

NOW = 1_796_000_000 * SECOND_NS
moments = st.one_of(st.integers(NOW, NOW + 2 * SECOND_NS), st.integers(0, 2**62))


def written(moment_ns: int) -> str:
    seconds, rest = divmod(moment_ns, SECOND_NS)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{rest // 1000:06}Z"


@given(st.lists(st.tuples(moments, moments), min_size=1, max_size=8))
def test_moments_are_written_whatever_was_written_before(pairs: list[tuple[int, int]]) -> None:
    """Also of a clock that was put back in between, and of long ago."""
    for received, told in pairs:
        expected = f'"requestReceivedTimestamp":"{written(received)}","stageTimestamp":"{written(told)}"'
        assert stamps(received, told).decode() == expected

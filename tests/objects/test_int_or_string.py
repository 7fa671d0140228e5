"""Numbers that may be percentages."""

from __future__ import annotations

import pytest

from knarr.objects import int_or_string


def test_percentages_round_as_asked() -> None:
    quarter = int_or_string.of("25%")
    assert int_or_string.scaled_value(quarter, 3, round_up=True) == 1
    assert int_or_string.scaled_value(quarter, 3, round_up=False) == 0
    assert int_or_string.scaled_value(int_or_string.of(7), 3, round_up=True) == 7
    assert int_or_string.plain(quarter) == "25%"
    assert int_or_string.is_text(quarter)
    assert not int_or_string.is_text(int_or_string.of(7))
    with pytest.raises(ValueError, match="not a percentage"):
        int_or_string.scaled_value(int_or_string.of("http"), 3, round_up=True)

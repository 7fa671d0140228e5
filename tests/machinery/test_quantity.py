"""Quantities: exact values, canonical spellings, arithmetic that keeps the notation."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.machinery import quantity


@pytest.mark.parametrize(
    ("text", "canonical", "milli", "value"),
    [
        ("0", "0", 0, 0),
        ("0.5", "500m", 500, 1),
        ("1.5Gi", "1536Mi", 1536 * 2**20 * 1000, 1536 * 2**20),
        ("1000", "1k", 1_000_000, 1000),
        ("1024Mi", "1Gi", 2**30 * 1000, 2**30),
        ("1024", "1024", 1_024_000, 1024),
        ("0.5Ki", "512", 512_000, 512),
        ("1e3", "1e3", 1_000_000, 1000),
        ("1E3", "1e3", 1_000_000, 1000),
        ("12e-3", "12e-3", 12, 1),
        ("1E", "1E", 10**21, 10**18),
        ("100n", "100n", 1, 1),
        ("0.1n", "1n", 1, 1),
        ("-1500m", "-1500m", -1500, -1),
        ("+1", "1", 1000, 1),
        (".5", "500m", 500, 1),
        ("5.", "5", 5000, 5),
        ("9999999999999999999", "9223372036854775807", (2**63 - 1) * 1000, 2**63 - 1),
    ],
)
def test_known_quantities(text: str, canonical: str, milli: int, value: int) -> None:
    assert (quantity.canonical(text), quantity.milli(text), quantity.value(text)) == (canonical, milli, value)


@pytest.mark.parametrize("text", ["", ".", "x", "1.1.1", "1 Gi", "--1", "1_000", "١"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.parse(text)


@pytest.mark.parametrize("text", ["1K", "1gi", "1mm", "1ki", "1e", "1e99999"])
def test_unknown_suffix(text: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        quantity.parse(text)


def test_sums_keep_the_notation_of_the_first() -> None:
    assert quantity.add("512Mi", "512Mi") == "1Gi"
    assert quantity.add("500m", "1.5") == "2"
    assert quantity.add("0", "1Ki") == "1Ki"
    assert quantity.add("1Gi", "1G") == "2073741824"
    assert quantity.subtract("1Gi", "512Mi") == "512Mi"
    assert quantity.add("9223372036854775806.999999999", "0.000000001") == "9223372036854775807"


def test_comparison_is_by_value() -> None:
    assert quantity.compare("1Gi", "1G") == 1
    assert quantity.compare("1000m", "1") == 0
    assert quantity.compare("-1", "1n") == -1


numbers = st.decimals(min_value=Decimal(-(10**9)), max_value=Decimal(10**9), places=9)
suffixes = st.sampled_from(["", "n", "u", "m", "k", "M", "Ki", "Mi", "e3", "E-2"])


@given(numbers, suffixes)
def test_canonical_form_is_stable_and_keeps_the_value(number: Decimal, suffix: str) -> None:
    text = f"{number:f}{suffix}"
    written = quantity.canonical(text)
    assert quantity.parse(written) == quantity.parse(text)
    assert quantity.canonical(written) == written


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        ("1n", "1m"),
        ("0.0001", "1m"),
        ("-0.0001", "-1m"),
        ("1.0000001", "1001m"),
        ("1e-6", "1e-3"),
        ("0.5", "0.5"),
        ("1Gi", "1Gi"),
        ("x", "x"),
    ],
)
def test_what_is_finer_than_a_thousandth_is_rounded_away_from_zero(text: str, rounded: str) -> None:
    assert quantity.in_thousandths(text) == rounded

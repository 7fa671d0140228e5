"""The table of figures in README.md says what was measured: a row for each record, with its numbers, and whether its target is missed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from bench.__main__ import MEASUREMENTS, RESULTS
from tests.support.cluster_client import ROOT

NAMES = frozenset(name for names in MEASUREMENTS.values() for name in names)
RECORDS: dict[str, dict[str, Any]] = {record["name"]: record for record in json.loads(RESULTS.read_text())}
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``beside`` and ``ratio`` are empty where there is no peer."""

    name: str
    value: str
    beside: str
    ratio: str
    target: str


def _rows() -> dict[str, Row]:
    table = (ROOT / "README.md").read_text().partition("| figure | Knarr | beside |")[2].partition("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        figure, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        name = figure.split("`")[1]
        found[name] = Row(name, *cells)
    return found


ROWS = _rows()


def is_shown(text: str, value: float, unit: str) -> bool:
    """Whether the first number of a cell is a value as it is rounded there; seconds may be shown for milliseconds."""
    number = NUMBER.search(text)
    assert number is not None, text
    shown, decimals = float(number[0].replace(",", "")), len(number[0].partition(".")[2])
    factor = 1000 if unit.startswith("ms") and re.match(r"\s*s\b", text[number.end() :]) else 1
    rounding: float = 0.5 * 10**-decimals
    return abs(shown - value / factor) <= rounding + 1e-3


def test_every_row_is_a_measurement_and_every_record_has_a_row() -> None:
    assert ROWS.keys() - NAMES == set()
    assert RECORDS.keys() - ROWS.keys() == set()


@pytest.mark.parametrize("name", sorted(RECORDS.keys() & ROWS.keys()))
def test_a_row_says_what_was_recorded(name: str) -> None:
    row, record = ROWS[name], RECORDS[name]
    assert is_shown(row.value, record["value"], record["unit"]), (row.value, record["value"])
    if row.beside:
        beside = row.beside.partition(": ")[2]
        assert is_shown(beside, record["peer_value"], record["unit"]), (row.beside, record["peer_value"])
    if NUMBER.search(row.ratio) and not row.ratio.endswith("more"):
        assert is_shown(row.ratio, record["ratio"], ""), (row.ratio, record["ratio"])
    says = any(MISSED in cell for cell in (row.value, row.ratio, row.target)) or "**" in row.value
    assert says is not record["ok"], (row, record["ok"])

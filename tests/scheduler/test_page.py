"""docs/scheduler.md and the examples say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.scheduler.configuration.configuration import parse_configuration
from services.scheduler.configuration.decoding import fields_of
from services.scheduler.registry import registry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scheduler.md").read_text()
ROWS = re.findall(r"^\| (\w+) \| ([\w, ]+) \| (\d?) ?\|(.*)\|$", PAGE, re.MULTILINE)


def test_the_table_of_plugins_is_the_registry() -> None:
    expected = {one.name: (set(one.points), str(one.weight) if "score" in one.points else "") for one in registry().values()}
    assert {name: (set(points.split(", ")), weight) for name, points, weight, _ in ROWS} == expected
    assert [row[0] for row in ROWS] == list(registry())


def test_the_table_names_the_arguments_that_there_are() -> None:
    for name, _, _, told in ROWS:
        args = registry()[name].args
        known = set(fields_of(args)) - {"shape"} if args is not None else set()
        assert {word for word in re.findall(r"`(\w+)", told) if word in known} == known, name


@pytest.mark.parametrize("file", sorted((ROOT / "examples" / "scheduler").glob("*.yaml")), ids=lambda file: file.name)
def test_examples_are_good(file: Path) -> None:
    assert parse_configuration(file.read_bytes()).profiles

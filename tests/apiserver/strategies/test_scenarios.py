"""Defaults, refusals, updates and table rows of the core kinds, as told by the files in ``scenarios``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver.strategies.scenario import Subject, causes_shown, check, scenarios

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("file", "position"), scenarios("defaults"))
def test_a_new_object_is_filled_in(file: Path, position: int) -> None:
    def run(document: dict[str, Any]) -> dict[str, Any]:
        subject = Subject.of(document["input"]).created()
        assert subject.causes() == []
        return {"stored": subject.shown()}

    check(file, position, run)


@pytest.mark.parametrize(("file", "position"), scenarios("refused"))
def test_a_bad_object_is_refused(file: Path, position: int) -> None:
    def run(document: dict[str, Any]) -> dict[str, Any]:
        causes = Subject.of(document["input"]).created().causes()
        assert causes
        return {"causes": causes_shown(causes)}

    check(file, position, run)


@pytest.mark.parametrize(("file", "position"), scenarios("updates"))
def test_a_change_is_accepted_or_refused(file: Path, position: int) -> None:
    def run(document: dict[str, Any]) -> dict[str, Any]:
        old = Subject.of(document["old"]).created()
        assert old.causes() == []
        new = Subject.of(document["new"])
        causes = new.updated_from(old)
        return {"causes": causes_shown(causes)} if causes else {"generation": new.obj.metadata.generation, "stored": new.shown()}

    check(file, position, run)


@pytest.mark.parametrize(("file", "position"), scenarios("statuses"))
def test_a_status_is_accepted_or_refused(file: Path, position: int) -> None:
    def run(document: dict[str, Any]) -> dict[str, Any]:
        old, new = (Subject.of(document[name]) for name in ("old", "new"))
        for subject in (old, new):
            subject.strategy.default(subject.obj)
        return {"causes": causes_shown(new.strategy.validate_status_update(new.obj, old.obj))}

    check(file, position, run)


@pytest.mark.parametrize(("file", "position"), scenarios("tables"))
def test_a_table_row(file: Path, position: int) -> None:
    def run(document: dict[str, Any]) -> dict[str, Any]:
        subject = Subject.of(document["input"])
        subject.strategy.default(subject.obj)
        cells = subject.strategy.cells(subject.obj, NOW)
        return {"row": {column.name: cell for column, cell in zip(subject.strategy.columns, cells, strict=True)}}

    check(file, position, run)


@pytest.mark.parametrize(("file", "position"), scenarios("defaults"))
def test_defaulting_twice_changes_nothing(file: Path, position: int) -> None:
    def run(document: dict[str, Any]) -> dict[str, Any]:
        subject = Subject.of(document["input"]).created()
        first = subject.obj.SerializeToString(deterministic=True)
        subject.strategy.default(subject.obj)
        assert subject.obj.SerializeToString(deterministic=True) == first
        return {}

    check(file, position, run)

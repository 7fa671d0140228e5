"""Add-ons that a cluster is started with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from knarr.service.errors import CommandError
from services.command.addons import switching
from services.command.addons.addon import OFF, ON, STARTING, State
from services.command.addons.catalog import ADDONS
from services.command.commands import up
from services.standalone.settings import ClusterSettings


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that were turned on; of the catalog the first is on, the second starts, the others are off, and the last cannot be."""
    found: list[str] = []
    states = {addon.name: State(state) for addon, state in zip(ADDONS, (ON, STARTING, OFF, OFF), strict=True)}

    @contextmanager
    def place_of(settings: ClusterSettings) -> Iterator[Any]:
        yield None

    def enable(place: Any, addon: Any, tell: Any) -> list[str]:
        if addon is ADDONS[-1]:
            raise CommandError("no room")
        found.append(addon.name)
        tell("working")
        return []

    monkeypatch.setattr(switching, "place_of", place_of)
    monkeypatch.setattr(switching, "enable", enable)
    for addon in ADDONS:
        monkeypatch.setattr(type(addon), "state", lambda self, place: states[self.name])
    return found


def test_those_that_are_off_are_turned_on(turned: list[str], tmp_path: Path) -> None:
    told: list[str] = []
    chosen = ",".join(addon.name for addon in ADDONS[:3])
    up._turn_on_addons(ClusterSettings(data_dir=tmp_path, addons=chosen), told.append)
    assert turned == [ADDONS[2].name]
    assert told == ["  working", f"  add-on {ADDONS[2].name} is on"]
    up._turn_on_addons(ClusterSettings(data_dir=tmp_path), told.append)
    assert len(told) == 2


def test_one_that_cannot_be_is_told_with_the_way_out(turned: list[str], tmp_path: Path) -> None:
    last = ADDONS[-1].name
    with pytest.raises(CommandError, match=f"the cluster runs without the add-on {last}: no room; `knarr addon enable {last}` tries"):
        up._turn_on_addons(ClusterSettings(data_dir=tmp_path, addons=last), lambda line: None)


def test_one_that_there_is_not_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (words,) = up._addon_problems(ClusterSettings(data_dir=tmp_path, addons="metrics,nothing"))
    assert words == "--addons: there is no add-on 'nothing'; there are metrics, registry, dashboard, local-path"
    assert not list(up._addon_problems(ClusterSettings(data_dir=tmp_path)))

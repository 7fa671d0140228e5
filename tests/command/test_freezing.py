"""In which order a cluster with containers is paused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.service.errors import CommandError
from services.command.named import freezing
from services.kubelet.runtime.docker.engine import EngineConflict, EngineNotFound
from services.kubelet.runtime.port import RuntimeUnavailable
from services.standalone.settings import ClusterSettings

# What there is, by status; the second of each goes meanwhile, or is being frozen already.
PRESENT = {"created": ["starting", "gone"], "running": ["own", "elsewhere"], "paused": []}
ASKED = [f"GET containers/{name}/json" for name in ("starting", "gone", "own", "elsewhere")]


class Told:
    """What is done, as it happens. ``silent``: how often the engine says nothing of `own` once everything stands."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.silent = 0
        self.stands = False

    async def request(self, method: str, path: str, *, params: dict[str, str] | None = None) -> Any:
        if params is not None:
            return [{"Id": name} for status in json.loads(params["filters"])["status"] for name in PRESENT[status]]
        self.done.append(f"{method} {path}")
        if "gone" in path:
            raise EngineNotFound(404, "No such container")
        if method == "POST" and "elsewhere" in path:
            raise EngineConflict(409, "already paused")
        if self.stands and self.silent and "own" in path:
            self.silent -= 1
            raise RuntimeUnavailable("no answer came in time")
        return {}

    async def close(self) -> None:
        pass

    def freeze(self) -> None:
        self.done.append("freeze")
        self.stands = True

    def thaw(self) -> None:
        self.done.append("thaw")
        self.stands = False

    def groups(self) -> Iterator[str]:
        yield "docker-own.scope"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    made = Told()
    monkeypatch.setattr(freezing, "Engine", lambda url, seconds: made)
    monkeypatch.setattr(freezing, "Freezer", lambda group: made)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> ClusterSettings:
    made = ClusterSettings(data_dir=tmp_path, runtime="docker")
    made.files.cluster_id()
    return made


def test_what_is_just_being_started_is_waited_for_before_anything_is_frozen(told: Told, settings: ClusterSettings) -> None:
    """Else it would be frozen on its way, and whoever asks the engine about it would wait until the pause ends."""
    assert freezing._freeze(settings) == 2
    assert told.done == [*ASKED, "freeze", *ASKED, "POST containers/elsewhere/pause"]


def test_what_began_meanwhile_is_let_come_to_its_end(told: Told, settings: ClusterSettings) -> None:
    told.silent = 2
    assert freezing._freeze(settings) == 2
    once = [*ASKED, "freeze", *ASKED[:3], "thaw"]
    assert told.done == [*once, *once, *ASKED, "freeze", *ASKED, "POST containers/elsewhere/pause"]


def test_where_something_is_always_being_begun_nothing_stays_frozen(told: Told, settings: ClusterSettings) -> None:
    told.silent = freezing.TRIES
    with pytest.raises(CommandError, match="has been beginning something in the containers all the time; run this again"):
        freezing._freeze(settings)
    assert not told.stands

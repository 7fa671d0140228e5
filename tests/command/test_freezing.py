"""In which order a cluster with containers is paused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.command.named import freezing
from services.kubelet.runtime.docker.engine import EngineConflict, EngineNotFound
from services.standalone.settings import ClusterSettings

# What there is, by status; the second one of the first goes meanwhile, one of the others is being frozen already.
PRESENT = {"created": ["starting", "gone"], "running": ["own", "elsewhere"]}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, as it happens."""
    done: list[str] = []

    class Engine:
        def __init__(self, url: str, timeout_seconds: float) -> None:
            pass

        async def request(self, method: str, path: str, *, params: dict[str, str] | None = None) -> Any:
            if params is not None:
                (status,) = json.loads(params["filters"])["status"]
                return [{"Id": name} for name in PRESENT[status]]
            done.append(f"{method} {path}")
            if "gone" in path:
                raise EngineNotFound(404, "No such container")
            if "elsewhere" in path:
                raise EngineConflict(409, "already paused")
            return {}

        async def close(self) -> None:
            pass

    class Freezer:
        def __init__(self, group: object) -> None:
            pass

        def freeze(self) -> None:
            done.append("freeze")

        def groups(self) -> Iterator[str]:
            yield "docker-own.scope"

    monkeypatch.setattr(freezing, "Engine", Engine)
    monkeypatch.setattr(freezing, "Freezer", Freezer)
    return done


def test_what_is_just_being_started_is_waited_for_before_anything_is_frozen(told: list[str], tmp_path: Path) -> None:
    """Else it would be frozen on its way, and whoever asks the engine about it would wait until the pause ends."""
    settings = ClusterSettings(data_dir=tmp_path, runtime="docker")
    assert freezing._freeze(settings) == 2
    assert told == ["GET containers/starting/json", "GET containers/gone/json", "freeze", "POST containers/elsewhere/pause"]

"""The addresses of sandboxes: one that was not made keeps none."""

from __future__ import annotations

from typing import cast

import pytest

from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.docker.interfaces import EngineInterfaces
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.owned import OwnContainers
from services.kubelet.runtime.docker.sandboxes import EngineSandboxes
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.plan import PodRef, SandboxPlan
from services.kubelet.runtime.port import RuntimeUnavailable


class AwayEngine:
    """Cannot be reached."""

    async def request(self, *_: object, **__: object) -> None:
        raise RuntimeUnavailable("away")


async def test_an_engine_that_is_away_uses_up_no_addresses() -> None:
    engine = cast(Engine, AwayEngine())
    settings = DockerSettings("test", "node-1", "10.244.0.0/29")
    interfaces = EngineInterfaces(engine, settings)
    observer = EngineObserver(engine, settings, {}, interfaces)
    sandboxes = EngineSandboxes(engine, settings, {}, OwnContainers(engine, {}), interfaces, observer)
    for attempt in range(20):
        with pytest.raises(RuntimeUnavailable):
            await sandboxes.create(SandboxPlan(PodRef("default", "web", "uid"), attempt, "web"))

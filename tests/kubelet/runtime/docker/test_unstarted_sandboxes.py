"""A sandbox that was made and never started, as by a kubelet that was killed in between: it is seen, so that somebody removes it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.kubelet.runtime.docker.bodies import sandbox_body
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.docker.events import EngineEvent
from services.kubelet.runtime.docker.interfaces import EngineInterfaces
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.owned import OwnContainers
from services.kubelet.runtime.docker.sandboxes import EngineSandboxes
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.labels import sandbox_from
from services.kubelet.runtime.plan import PodRef, SandboxPlan
from services.kubelet.runtime.port import RuntimeUnavailable

SETTINGS = DockerSettings("test", "node-1", "10.244.0.0/29")
PLAN = SandboxPlan(PodRef("default", "web", "uid"), 0, "web")


class StartlessEngine:
    """Makes what it is asked for; a start does not return before ``started`` is set, and then as if the engine had gone."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.starting, self.started = asyncio.Event(), asyncio.Event()

    async def request(self, method: str, path: str, *, body: Any = None, **_: object) -> Any:
        match method, path:
            case "POST", "containers/create":
                networks: dict[str, Any] = {"NetworkSettings": {"Networks": {}}}
                self.listed.append({"Id": "made", "State": "created", "Created": 1, "Labels": body["Labels"], **networks})
                return {"Id": "made"}
            case "GET", "containers/json":
                return list(self.listed)
            case "DELETE", _:
                self.removed.append(path)
                return None
        self.starting.set()
        await self.started.wait()
        raise RuntimeUnavailable("away")


@pytest.fixture
def engine() -> StartlessEngine:
    return StartlessEngine()


@pytest.fixture
def observer(engine: StartlessEngine) -> EngineObserver:
    return EngineObserver(cast(Engine, engine), SETTINGS, {}, EngineInterfaces(cast(Engine, engine), SETTINGS))


@pytest.fixture
def sandboxes(engine: StartlessEngine, observer: EngineObserver) -> EngineSandboxes:
    return made_by(cast(Engine, engine), observer)


def made_by(engine: Engine, observer: EngineObserver) -> EngineSandboxes:
    return EngineSandboxes(engine, SETTINGS, {}, OwnContainers(engine, {}), EngineInterfaces(engine, SETTINGS), observer)


async def test_one_that_another_kubelet_left_is_seen_and_removed(
    engine: StartlessEngine, observer: EngineObserver, sandboxes: EngineSandboxes
) -> None:
    await engine.request("POST", "containers/create", body=sandbox_body(PLAN, "10.244.0.2", "pause", SETTINGS.network, {}))
    await observer.relist()
    found = observer.observations.get("uid")
    assert found is not None and found.sandbox is not None and not found.sandbox.ready
    assert observer.take_address("another") == "10.244.0.3"
    await sandboxes.remove(found.sandbox)
    assert engine.removed == ["containers/made"]
    assert observer.take_address("uid") == "10.244.0.2"


async def test_one_that_is_about_to_start_is_nobodys_remainder(
    engine: StartlessEngine, observer: EngineObserver, sandboxes: EngineSandboxes
) -> None:
    making = asyncio.create_task(sandboxes.create(PLAN))
    await engine.starting.wait()
    await observer.relist()
    assert observer.observations.get("uid") is None
    engine.started.set()
    with pytest.raises(RuntimeUnavailable):
        await making
    # Nobody knows whether it runs, and perhaps nobody asks for it any more.
    await observer.relist()
    found = observer.observations.get("uid")
    assert found is not None and found.sandbox is not None and not found.sandbox.ready


async def test_one_that_runs_is_not_ready_before_it_has_its_interface(engine: StartlessEngine, observer: EngineObserver) -> None:
    await engine.request("POST", "containers/create", body=sandbox_body(PLAN, "10.244.0.2", "pause", SETTINGS.network, {}))
    engine.listed[0]["State"] = "running"
    observer.making["uid"] = "10.244.0.2"
    await observer.relist()
    assert observer.observations.get("uid") is None


async def test_a_list_that_is_older_than_the_start_makes_nothing_of_it_undone(
    engine: StartlessEngine, observer: EngineObserver, sandboxes: EngineSandboxes
) -> None:
    await engine.request("POST", "containers/create", body=sandbox_body(PLAN, "10.244.0.2", "pause", SETTINGS.network, {}))
    observer.observations.put_sandbox(sandbox_from("made", engine.listed[0]["Labels"], ready=True, created_at=None))
    await observer.relist()
    found = observer.observations.get("uid")
    assert found is not None and found.sandbox is not None and found.sandbox.ready


class TellingEngine:
    """Tells that a container is gone before it answers who asked for that."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self.observer: EngineObserver | None = None
        self.told = asyncio.Event()

    async def request(self, method: str, path: str, *, body: Any = None, **_: object) -> Any:
        match method, path:
            case "POST", "containers/create":
                self.labels = body["Labels"]
                return {"Id": "made"}
            case "GET", "containers/json":
                return []
            case "DELETE", _:
                assert self.observer is not None
                await self.observer._heed(EngineEvent("destroy", "made", datetime.now(UTC), self.labels))
        return None


async def test_an_address_is_free_again_whoever_hears_first_that_its_sandbox_is_gone() -> None:
    engine = TellingEngine()
    interfaces = EngineInterfaces(cast(Engine, engine), SETTINGS)
    observer = engine.observer = EngineObserver(cast(Engine, engine), SETTINGS, {}, interfaces)
    sandboxes = made_by(cast(Engine, engine), observer)
    for number in range(20):
        made = await sandboxes.create(replace(PLAN, pod=PodRef("default", "web", f"uid-{number}")))
        await sandboxes.remove(made)
    assert len({observer.take_address(f"another-{number}") for number in range(5)}) == 5


async def test_an_address_of_which_nothing_was_heard_is_free_with_the_next_list(
    engine: StartlessEngine, observer: EngineObserver, sandboxes: EngineSandboxes
) -> None:
    making = asyncio.create_task(sandboxes.create(PLAN))
    await engine.starting.wait()
    await observer.relist()
    assert observer.take_address("another") == "10.244.0.3", "it is being made"
    engine.started.set()
    with pytest.raises(RuntimeUnavailable):
        await making
    # Somebody else removes it before it was ever seen.
    engine.listed.clear()
    await observer.relist()
    observer.last_ip["uid"] = "10.244.0.2"
    assert observer.take_address("uid") == "10.244.0.2"

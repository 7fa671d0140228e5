"""What the engine's containers use: who is asked for it, and how often."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from knarr.netlink import route_messages as rt
from services.kubelet.runtime import groups
from services.kubelet.runtime.docker.engine import Engine, EngineNotFound
from services.kubelet.runtime.docker.interfaces import EngineInterfaces
from services.kubelet.runtime.docker.meter import EngineMeter
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.interface import NodeEnds, name_of
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import RUNNING, Container, Sandbox
from services.kubelet.runtime.usage import Usage

SETTINGS = DockerSettings("test", "node-1", "10.244.0.0/29")
POD = PodRef("default", "web", "uid")
TOLD: dict[str, Any] = {
    "read": "2026-01-02T03:04:05.6Z",
    "cpu_stats": {"cpu_usage": {"total_usage": 7}},
    "memory_stats": {"usage": 70},
    "networks": {"eth0": {"rx_bytes": 9}},
}
# Of a container that has ended, or whose network the engine does not know.
NOTHING: dict[str, Any] = {"read": "0001-01-01T00:00:00Z", "cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}


class CountingEngine:
    """Answers for containers by id; what it was asked is counted."""

    def __init__(self) -> None:
        self.stats: dict[str, dict[str, Any]] = {}
        self.pids: dict[str, int] = {}
        self.asked: Counter[str] = Counter()

    async def request(self, method: str, path: str, **_: object) -> Any:
        self.asked[path] += 1
        engine_id, kind = path.split("/")[1:]
        if kind == "stats":
            return self.stats[engine_id]
        if engine_id not in self.pids:
            raise EngineNotFound(404, "gone")
        return {"State": {"Pid": self.pids[engine_id]}}


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine()


@pytest.fixture
def observer(engine: CountingEngine) -> EngineObserver:
    made = EngineObserver(cast(Engine, engine), SETTINGS, {}, EngineInterfaces(cast(Engine, engine), SETTINGS))
    made.observations.put_sandbox(Sandbox("box", POD, 0, True, "10.244.0.2", None, ""))
    made.observations.put_container(POD, Container("app-id", "app", 0, RUNNING, "", "", ""))
    return made


@pytest.fixture
def meter(engine: CountingEngine, observer: EngineObserver) -> EngineMeter:
    return EngineMeter(cast(Engine, engine), observer)


@pytest.fixture
def kernel(meter: EngineMeter, monkeypatch: pytest.MonkeyPatch) -> dict[int, Usage]:
    """What it counts, by process."""
    counted: dict[int, Usage] = {}

    def find(pid: int, _: str) -> groups.Groups | None:
        return {groups.ALL: Path(str(pid))} if pid in counted else None

    def read(_pod: PodRef, _name: str, found: groups.Groups) -> Usage:
        try:
            return counted[int(found[groups.ALL].name)]
        except KeyError as error:
            raise FileNotFoundError("memory.current") from error

    monkeypatch.setattr(groups, "find", find)
    monkeypatch.setattr(groups, "read", read)
    meter.reads_groups = True
    return counted


def ends(sandbox_id: str) -> NodeEnds:
    link = rt.Link(1, rt.UP, name_of(sandbox_id), "", 1500, "veth", b"", 9)
    return NodeEnds(9, {link.name: link})


async def test_where_groups_are_is_asked_once_and_use_never(meter: EngineMeter, engine: CountingEngine, kernel: dict[int, Usage]) -> None:
    engine.pids["app-id"], kernel[5] = 5, Usage(POD, "app", 3, 30)
    assert await meter.usage() == [kernel[5]] == await meter.usage()
    assert engine.asked == {"containers/app-id/json": 1}


async def test_groups_that_are_not_to_be_seen_leave_it_to_the_engine(
    meter: EngineMeter, engine: CountingEngine, kernel: dict[int, Usage]
) -> None:
    engine.pids["app-id"], engine.stats["app-id"] = 6, TOLD
    for _ in range(2):
        (usage,) = await meter.usage()
        assert (usage.container, usage.cpu_nanoseconds, usage.memory_bytes) == ("app", 7, 70)
    assert engine.asked == {"containers/app-id/json": 1, "containers/app-id/stats": 2}


async def test_in_a_container_of_our_own_nobody_looks_for_groups(meter: EngineMeter, engine: CountingEngine) -> None:
    meter.reads_groups, engine.stats["app-id"] = False, TOLD
    assert [usage.memory_bytes for usage in await meter.usage()] == [70]
    assert engine.asked == {"containers/app-id/stats": 1}


async def test_what_ended_uses_nothing(
    meter: EngineMeter, engine: CountingEngine, observer: EngineObserver, kernel: dict[int, Usage]
) -> None:
    engine.pids["app-id"], kernel[5] = 5, Usage(POD, "app", 3, 30)
    assert len(await meter.usage()) == 1
    del kernel[5]
    assert await meter.usage() == []
    observer.observations.remove(POD.uid, "app-id")
    assert await meter.usage() == [] and "app-id" not in meter._found


async def test_an_engine_that_sees_nothing_is_no_word_of_no_use(meter: EngineMeter, engine: CountingEngine) -> None:
    """Whoever ranks pods by their use would take zero for a fact."""
    meter.reads_groups, engine.stats["app-id"] = False, NOTHING
    assert await meter.usage() == []


async def test_one_that_is_gone_before_it_was_found_is_asked_for_no_more(
    meter: EngineMeter, engine: CountingEngine, kernel: dict[int, Usage]
) -> None:
    engine.stats["app-id"] = NOTHING
    assert await meter.usage() == [] and "app-id" not in meter._found


async def test_what_goes_through_an_interface_of_ours_is_told_with_it(
    meter: EngineMeter, engine: CountingEngine, kernel: dict[int, Usage]
) -> None:
    engine.pids["box"], kernel[4] = 4, Usage(POD, "", 1, 10)
    (usage,) = await meter.sandbox_usage(ends("box"))
    assert (usage.memory_bytes, [use.interface for use in usage.details.networks]) == (10, ["eth0"])


async def test_what_goes_through_the_engines_own_it_is_asked_for(
    meter: EngineMeter, engine: CountingEngine, kernel: dict[int, Usage]
) -> None:
    engine.pids["box"], kernel[4], engine.stats["box"] = 4, Usage(POD, "", 1, 10), TOLD
    (usage,) = await meter.sandbox_usage(NodeEnds())
    assert (usage.memory_bytes, [use.received_bytes for use in usage.details.networks]) == (70, [9])

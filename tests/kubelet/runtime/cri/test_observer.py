"""What the CRI runtime makes of lists, answers and events: an engine that says what it is told to, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from knarr.api.containerd.events.v1 import events_pb2 as events
from knarr.api.cri.v1 import container_pb2 as cri
from knarr.api.cri.v1 import sandbox_pb2, status_pb2
from services.kubelet.runtime.cri.engine import EngineNotFound, EngineUnimplemented
from services.kubelet.runtime.cri.observer import EngineObserver
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.labels import ATTEMPT, CONTAINER_NAME, POD_NAME, POD_UID
from services.kubelet.runtime.port import EXITED, RUNNING, RuntimeUnavailable
from tests.kubelet.support import until

UID = "uid-1"
POD = {POD_UID: UID, POD_NAME: "web"}
SPEC = '{"runtimeSpec": {"linux": {"resources": {"cpu": {"shares": 2}}}}}'
SETTINGS = CriSettings("c", "node-1", "10.244.0.0/24", "unix:///run/x.sock", relist_seconds=3600.0, eventless_relist_seconds=0.01)


class Engine:
    """Holds one sandbox and containers by id; ``told`` are the events that it will tell, None where it has none to tell."""

    def __init__(self) -> None:
        self.ready: bool | None = True
        self.containers: dict[str, cri.ContainerStatus] = {}
        self.told: asyncio.Queue[events.Envelope] | None = asyncio.Queue()
        self.asked: list[str] = []
        # Whether it says what a container may use beside its status, where it is asked for everything.
        self.is_old = False

    def has(self, engine_id: str, state: int, **fields: Any) -> None:
        labels = {**POD, CONTAINER_NAME: "app", ATTEMPT: "0"}
        self.containers[engine_id] = cri.ContainerStatus(id=engine_id, state=state, labels=labels, **fields)  # type: ignore[arg-type]
        self.containers[engine_id].resources.linux.cpu_shares = 2

    def tell(self, topic: str, event: Any) -> None:
        assert self.told is not None
        envelope = events.Envelope(topic=topic)
        envelope.event.value = event.SerializeToString()
        self.told.put_nowait(envelope)

    async def runtime(self, method: str, request: Any, timeout_seconds: float | None = None) -> Any:
        self.asked.append(method)
        match method:
            case "Status":
                return status_pb2.StatusResponse()
            case "ListPodSandbox":
                return sandbox_pb2.ListPodSandboxResponse(items=[self._sandbox()] if self.ready is not None else [])
            case "ListContainers":
                found = [cri.Container(id=c.id, state=c.state, labels=c.labels) for c in self.containers.values()]
                return cri.ListContainersResponse(containers=found)
            case "PodSandboxStatus" if self.ready is not None:
                listed = self._sandbox()
                status = sandbox_pb2.PodSandboxStatus(id=listed.id, state=listed.state, labels=listed.labels)
                status.network.ip = "10.244.0.2"
                return sandbox_pb2.PodSandboxStatusResponse(status=status)
            case "ContainerStatus" if request.container_id in self.containers:
                answer = cri.ContainerStatusResponse(status=self.containers[request.container_id])
                if self.is_old:
                    answer.status.ClearField("resources")
                    answer.info["info"] = SPEC if request.verbose else ""
                return answer
        raise EngineNotFound(method)

    def _sandbox(self) -> sandbox_pb2.PodSandbox:
        state = sandbox_pb2.SANDBOX_READY if self.ready else sandbox_pb2.SANDBOX_NOTREADY
        return sandbox_pb2.PodSandbox(id="sandbox", state=state, labels={**POD, ATTEMPT: "0"})

    async def follow_events(self, filters: list[str]) -> AsyncGenerator[events.Envelope]:
        if self.told is None:
            raise EngineUnimplemented("unknown service")
        while True:
            yield await self.told.get()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def observer(engine: Engine) -> EngineObserver:
    return EngineObserver(engine, SETTINGS, {})  # type: ignore[arg-type]


def states(observer: EngineObserver) -> list[str]:
    pod = observer.observations.get(UID)
    return [container.state for container in pod.containers] if pod else []


async def test_a_list_shows_what_is_there_and_takes_away_what_is_not(engine: Engine, observer: EngineObserver) -> None:
    engine.has("a", cri.CONTAINER_RUNNING, started_at=1)
    engine.has("b", cri.CONTAINER_EXITED, exit_code=3)
    await observer.relist()
    pod = observer.observations.get(UID)
    assert pod is not None and pod.sandbox is not None
    assert (pod.sandbox.ready, pod.sandbox.ip, sorted(states(observer))) == (True, "10.244.0.2", [EXITED, RUNNING])
    engine.asked.clear()
    await observer.relist()
    assert sorted(engine.asked) == ["ListContainers", "ListPodSandbox"]
    del engine.containers["b"]
    engine.ready = False
    await observer.relist()
    pod = observer.observations.get(UID)
    assert pod is not None and pod.sandbox is not None and not pod.sandbox.ready
    assert states(observer) == [RUNNING]
    engine.containers.clear()
    engine.ready = None
    await observer.relist()
    assert observer.observations.get(UID) is None


async def test_an_engine_is_asked_once_for_what_a_container_may_use(engine: Engine, observer: EngineObserver) -> None:
    """Also an older one, as soon as it is known to be that, and until it is a newer one."""
    engine.has("a", cri.CONTAINER_RUNNING, started_at=1)
    asked = []
    for engine.is_old in (False, True, True, False, False):
        engine.asked.clear()
        found = await observer.look("a")
        assert found is not None and found.limits is not None and found.limits.cpu_shares == 2
        asked.append(len(engine.asked))
    assert asked == [1, 2, 1, 1, 1]


async def test_an_answer_that_comes_late_does_not_revive_what_has_ended(engine: Engine, observer: EngineObserver) -> None:
    engine.has("a", cri.CONTAINER_EXITED, exit_code=3)
    await observer.look("a")
    engine.has("a", cri.CONTAINER_RUNNING, started_at=1)
    await observer.look("a")
    assert states(observer) == [EXITED]


async def test_an_event_is_asked_after_until_the_engine_itself_knows_of_it(engine: Engine, observer: EngineObserver) -> None:
    engine.has("a", cri.CONTAINER_RUNNING, started_at=1)
    following = asyncio.create_task(observer.follow())
    await until(lambda: states(observer) == [RUNNING])
    engine.asked.clear()
    # That of a command beside the main process is none of the container's.
    engine.tell("/tasks/exit", events.TaskExit(container_id="a", id="exec-1"))
    engine.tell("/tasks/exit", events.TaskExit(container_id="somebody-else", id="somebody-else"))
    engine.tell("/tasks/exit", events.TaskExit(container_id="a", id="a"))
    await until(lambda: engine.asked.count("ContainerStatus") > 2)
    engine.has("a", cri.CONTAINER_EXITED, started_at=1, finished_at=2, exit_code=9)
    await until(lambda: states(observer) == [EXITED])
    engine.ready = False
    engine.tell("/tasks/exit", events.TaskExit(container_id="sandbox", id="sandbox"))
    await until(lambda: (pod := observer.observations.get(UID)) is not None and pod.sandbox is not None and not pod.sandbox.ready)
    engine.containers.clear()
    engine.tell("/containers/delete", events.ContainerEvent(container_id="a"))
    await until(lambda: states(observer) == [])
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_an_engine_without_events_is_listed_again_and_again(engine: Engine, observer: EngineObserver) -> None:
    engine.told = None
    following = asyncio.create_task(observer.follow())
    engine.has("a", cri.CONTAINER_RUNNING, started_at=1)
    await until(lambda: states(observer) == [RUNNING])
    assert observer.trouble == ""
    engine.has("a", cri.CONTAINER_EXITED, started_at=1, finished_at=2)
    await until(lambda: states(observer) == [EXITED])
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_an_engine_that_is_away_is_trouble_until_it_is_back(engine: Engine, observer: EngineObserver) -> None:
    engine.told = None
    answers, following = engine.runtime, asyncio.create_task(observer.follow())
    await until(lambda: observer.trouble == "")

    async def away(*arguments: Any) -> Any:
        raise RuntimeUnavailable("does not answer")

    engine.runtime = away  # type: ignore[method-assign, assignment]
    await until(lambda: observer.trouble == "does not answer")
    engine.runtime = answers  # type: ignore[method-assign]
    await until(lambda: observer.trouble == "")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)

"""The kubelet's word about a pod stands, whoever wrote over it; it is not given for what is over in a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.copies import copy_of
from knarr.service.virtual_time import VirtualTimeLoop
from services.kubelet.pod.status_writer import MOST_BEHIND_SECONDS, PASSING_PER_SECOND, PATIENCE_SECONDS, TURNS, StatusWriter, Turns
from services.kubelet.runtime.hollow import HollowRuntime, HollowSettings
from services.kubelet.runtime.port import PodObservation, RuntimeUnavailable
from tests.kubelet.support import NODE, condition, make_pod, running, until
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

CIDR = "10.244.0.0/24"


async def test_a_ready_condition_that_the_node_controller_cleared_is_put_right(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod())
        changed = core.Pod()
        changed.CopyFrom(await cluster.ready())
        next(found for found in changed.status.conditions if found.type == "Ready").status = "False"
        changed.status.conditions.add(type="example.com/theirs", status="True")
        written = await cluster.client.update(changed, subresource="status")
        assert condition(written, "Ready") == "False"
        await cluster.until(lambda: condition(cluster.pod(), "Ready") == "True")
        assert condition(cluster.pod(), "example.com/theirs") == "True"


class SlowEngine(HollowRuntime):
    """Not reached at first, as Docker is not before the first answer."""

    def __init__(self) -> None:
        super().__init__(CIDR, HollowSettings())
        self.trouble = "not reached yet"

    async def start(self) -> None:
        await asyncio.sleep(0.05)
        self.trouble = ""
        await super().start()


async def test_a_restart_does_not_report_a_node_that_fails(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        api = cluster.api
    async with running(SlowEngine(), tmp_path, api=api) as cluster:
        seen = [event.reason for event in cluster.api.all(core.Event) if event.involved_object.name == NODE]
    assert "NodeNotReady" not in seen


async def test_the_error_of_an_engine_that_stays_away_is_reported(tmp_path: Path) -> None:
    class NoEngine(HollowRuntime):
        async def start(self) -> None:
            self.trouble = "no such socket"
            raise RuntimeUnavailable(self.trouble)

    async with running(NoEngine(CIDR), tmp_path, wait=False) as cluster:
        await cluster.until(lambda: cluster.api.all(core.Node) and condition(cluster.api.all(core.Node)[0], "Ready") == "False")


class Told:
    """A writer alone with the API; ``written`` says which messages it wrote, in order."""

    def __init__(self, api: FaultyApi, pod: core.Pod, turns: Turns) -> None:
        self.api, self.pod = api, pod
        self.writer = StatusWriter(api.client(), lambda: pod, turns)

    def publish(self, message: str, *, passes: bool, phase: str = "Pending", ready: bool = False) -> None:
        status = core.PodStatus(phase=phase, message=message)
        status.conditions.add(type="Ready", status=str(ready))
        self.writer.publish(status, passes=passes)

    @property
    def written(self) -> list[str]:
        return [write.obj.status.message for write in self.api.writes if isinstance(write.obj, core.Pod) and write.subresource == "status"]


@asynccontextmanager
async def telling() -> AsyncIterator[Told]:
    api = FaultyApi(VirtualClock())
    told = Told(api, await api.client().create(make_pod()), Turns())
    try:
        yield told
    finally:
        await told.writer.close()


@virtual_time
async def test_a_status_that_passes_waits_for_what_comes_of_it() -> None:
    async with telling() as told:
        for message in ("first", "second", "third"):
            told.publish(message, passes=True)
            await asyncio.sleep(PATIENCE_SECONDS / 4)
        assert not told.written
        told.publish("rest", passes=False)
        await asyncio.sleep(PATIENCE_SECONDS / 8)
        assert told.written == ["rest"]


@virtual_time
async def test_however_long_something_is_being_done_it_is_told_what() -> None:
    async with telling() as told:
        told.publish("pulling", passes=True)
        await asyncio.sleep(PATIENCE_SECONDS * 1.5)
        assert told.written == ["pulling"]
        for number in range(9):
            told.publish(f"pulling {number}", passes=True)
            await asyncio.sleep(PATIENCE_SECONDS / 4)
        assert told.written == ["pulling", "pulling 3", "pulling 7"]


@virtual_time
async def test_where_the_process_is_behind_a_status_that_passes_waits_longer_and_one_that_is_awaited_does_not() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    for late in (0.1, 60.0):
        most = min(late * TURNS, MOST_BEHIND_SECONDS)
        for phase in ("Pending", "Running"):
            async with telling() as told:
                told.publish("begun", passes=True)
                await asyncio.sleep(PATIENCE_SECONDS / 2)
                loop.hold(PATIENCE_SECONDS / 2 + late)
                await asyncio.sleep(most * 0.9)
                assert not told.written
                told.publish("more", passes=True, phase=phase)
                await asyncio.sleep(0.01)
                assert told.written == (["more"] if phase == "Running" else [])
                # What nobody waits for is told in the end, however far behind.
                await asyncio.sleep(most * 0.2)
                assert told.written == ["more"]


@virtual_time
async def test_where_many_pods_begin_together_those_statuses_are_told_first_that_stay() -> None:
    api, turns = FaultyApi(VirtualClock()), Turns()
    told = [Told(api, await api.client().create(make_pod(f"web-{number}")), turns) for number in range(30)]
    for number, one in enumerate(told):
        one.publish(f"begun {number}", passes=True)
    await asyncio.sleep(PATIENCE_SECONDS + 9.5 / PASSING_PER_SECOND)
    written = told[0].written
    assert len(written) == 10
    # Those whose turn has not come wait no longer where they have something to tell that stays ...
    runs = [number for number in range(30) if f"begun {number}" not in written][:15]
    for number in runs:
        told[number].publish(f"runs {number}", passes=False)
    await asyncio.sleep(0.1 / PASSING_PER_SECOND)
    assert told[0].written[10:] == [f"runs {number}" for number in runs]
    # ... and hold up nobody of the others.
    await asyncio.sleep(5 / PASSING_PER_SECOND)
    assert {*told[0].written[25:]} == {f"begun {number}" for number in range(30)} - {*written} - {f"begun {number}" for number in runs}
    for one in told:
        await one.writer.close()


@virtual_time
async def test_nobody_waits_in_a_row_to_tell_of_an_end_or_of_a_pod_that_is_ready() -> None:
    """Though something is being done for it yet, as its sandbox removed: a Job, or a Service, waits for it."""
    api, turns = FaultyApi(VirtualClock()), Turns()
    told = [Told(api, await api.client().create(make_pod(f"web-{number}")), turns) for number in range(33)]
    for number, one in enumerate(told[:-1]):
        one.publish(f"begun {number}", passes=True)
    told[-1].publish("ended", passes=True, phase="Succeeded")
    await asyncio.sleep(PATIENCE_SECONDS + 0.5 / PASSING_PER_SECOND)
    assert len(told[0].written) == 2 and "ended" in told[0].written
    # One of those that wait already, too.
    told[-2].publish("failed", passes=True, phase="Failed")
    told[-3].publish("ready", passes=True, phase="Pending", ready=True)
    await asyncio.sleep(0.1 / PASSING_PER_SECOND)
    assert told[0].written[2:] == ["failed", "ready"]
    for one in told:
        await one.writer.close()


@virtual_time
async def test_that_a_pod_is_ready_no_more_waits_for_nothing() -> None:
    async with telling() as told:
        told.pod.status.conditions.add(type="Ready", status="True")
        told.writer.publish(core.PodStatus(message="begun anew", conditions=[core.PodCondition(type="Ready", status="False")]), passes=True)
        await asyncio.sleep(PATIENCE_SECONDS / 8)
        assert told.written == ["begun anew"]


@virtual_time
async def test_whoever_waits_for_the_write_does_not_wait_for_more() -> None:
    async with telling() as told:
        told.publish("last", passes=True)
        started = asyncio.get_running_loop().time()
        await told.writer.flush()
        assert told.written == ["last"] and asyncio.get_running_loop().time() - started < PATIENCE_SECONDS


@virtual_time
async def test_whoever_waits_for_the_write_waits_for_nothing_that_passes_meanwhile() -> None:
    async with telling() as told:
        told.api.fail_next(status_error("ServiceUnavailable", "away"), verb="update", message_type=core.Pod)
        told.publish("ends", passes=True)
        started = asyncio.get_running_loop().time()
        waiting = asyncio.create_task(told.writer.flush())
        await asyncio.sleep(PATIENCE_SECONDS / 50)
        told.publish("ends, and its sandbox goes", passes=True)
        await waiting
        assert told.written == ["ends", "ends, and its sandbox goes"]
        assert asyncio.get_running_loop().time() - started < PATIENCE_SECONDS


@virtual_time
async def test_nobody_waits_for_the_status_of_a_pod_that_is_gone() -> None:
    async with telling() as told:
        await told.api.client().delete(core.Pod, "web", "default", grace_period_seconds=0)
        told.publish("last", passes=False)
        async with asyncio.timeout(60):
            await told.writer.flush()
        assert told.written == ["last"]


@virtual_time
async def test_a_pod_that_begins_and_ends_at_once_is_told_of_once(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with running(HollowRuntime(CIDR, clock=clock), tmp_path, clock=clock) as cluster:
        pod = make_pod(restart_policy="Never")
        pod.spec.containers[0].command.append("true")
        await cluster.client.create(pod)
        await asyncio.sleep(10)
        written = [write.obj for write in cluster.api.writes if isinstance(write.obj, core.Pod) and write.subresource == "status"]
        assert [(found.status.phase, condition(found, "PodReadyToStartContainers")) for found in written] == [("Succeeded", "False")]


@virtual_time
async def test_a_pod_that_runs_on_is_told_of_once_it_is_ready(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with running(HollowRuntime(CIDR, clock=clock), tmp_path, clock=clock) as cluster:
        await cluster.client.create(make_pod("web", "app", "sidecar"))
        await asyncio.sleep(10)
        written = [write.obj for write in cluster.api.writes if isinstance(write.obj, core.Pod) and write.subresource == "status"]
        assert [(found.status.phase, condition(found, "Ready")) for found in written] == [("Running", "True")]


@virtual_time
async def test_a_pod_that_takes_its_time_is_seen_to_begin(tmp_path: Path) -> None:
    clock = VirtualClock()
    runtime = HollowRuntime(CIDR, HollowSettings(start_seconds=60), clock)
    async with running(runtime, tmp_path, clock=clock) as cluster:
        await cluster.client.create(make_pod())
        await asyncio.sleep(1)
        pod = cluster.pod()
        assert pod is not None and pod.status.HasField("start_time") and pod.status.pod_ip
        assert pod.status.container_statuses[0].state.waiting.reason == "ContainerCreating"


class Looks(HollowRuntime):
    """Counts how often somebody looks at a pod."""

    looked = 0

    def observe(self, uid: str) -> PodObservation | None:
        self.looked += 1
        return super().observe(uid)


@virtual_time
async def test_the_echo_of_a_status_is_no_reason_to_look_anew_and_a_change_by_others_is(tmp_path: Path) -> None:
    clock = VirtualClock()
    runtime = Looks(CIDR, clock=clock)
    async with running(runtime, tmp_path, clock=clock) as cluster:
        await cluster.client.create(make_pod())
        await asyncio.sleep(10)
        (worker,) = cluster.kubelet.manager.workers.values()
        pod, before = copy_of(worker.asked), runtime.looked
        worker.update(pod)
        await asyncio.sleep(1)
        assert runtime.looked == before
        await cluster.client.patch(core.Pod, "web", "default", patch={"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(1)
        assert runtime.looked > before and worker.asked.metadata.labels["a"] == "b"


@virtual_time
async def test_what_was_read_anew_after_a_conflict_is_no_echo() -> None:
    async with telling() as told:
        theirs = await told.api.client().patch(core.Pod, "web", "default", patch={"metadata": {"labels": {"a": "b"}}})
        told.api.fail_next(status_error("Conflict", "changed meanwhile"), verb="update", message_type=core.Pod)
        told.api.fail_next(status_error("ServiceUnavailable", "busy"), verb="update", message_type=core.Pod, times=2)
        told.publish("first", passes=False)
        await until(lambda: len(told.written) == 3)
        assert not told.writer.has_written(theirs, told.pod)
        await told.writer.flush()
        written = await told.api.client().get(core.Pod, "web", "default")
        assert told.writer.has_written(written, theirs)
        # Of what others wrote in between nobody was told.
        assert not told.writer.has_written(written, told.pod)


@virtual_time
async def test_a_deletion_that_a_broken_watch_never_told_is_seen_in_the_echo_of_a_status(tmp_path: Path) -> None:
    clock = VirtualClock()
    runtime = HollowRuntime(CIDR, clock=clock)
    async with running(runtime, tmp_path, clock=clock) as cluster:
        created = await cluster.client.create(make_pod())
        await asyncio.sleep(10)
        cluster.api.fail_next(status_error("ServiceUnavailable", "away"), verb="list", message_type=core.Pod, times=1000)
        cluster.api.compact()
        await cluster.client.delete(core.Pod, "web", "default")
        runtime.exit(created.metadata.uid, "app", 3)
        await asyncio.sleep(20)
        pod = cluster.pod()
        assert pod is not None and pod.status.container_statuses[0].restart_count == 1
        cluster.api.heal()
        await cluster.until(lambda: cluster.pod() is None)

"""Whatever fails, hangs, dies or starts again: a pod gets its volume, gives it back whole, and nothing is left mounted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.csi import client
from services.kubelet.csi.records import Records
from tests.kubelet.csi.driver_world import World, hurry, kubelet, needs_mounts, revive, using, world
from tests.support.csi.faults import Fault, When

pytestmark = needs_mounts
WAY = ("NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume")
THERE, BACK = WAY[:2], WAY[2:]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@asynccontextmanager
async def revived(w: World) -> AsyncIterator[None]:
    task = asyncio.create_task(revive(w.driver))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("when", When, ids=[when.value for when in When])
@pytest.mark.parametrize("method", WAY)
async def test_a_call_that_fails_is_made_again(place: Path, method: str, when: When) -> None:
    async with world(place) as w, revived(w):
        w.driver.faults.append(Fault(method, when, times=2, code=grpc.StatusCode.ABORTED))
        await w.c.client.create(using())
        await w.c.ready()
        (w.target() / "row").write_text("1")
        await w.end_pod()
        await w.clean()
        assert (w.disk().path / "row").read_text() == "1"
        assert len(w.driver.asked(method)) >= 3


@pytest.mark.parametrize("when", [When.HANGS, When.SILENT], ids=["before", "after"])
@pytest.mark.parametrize("method", THERE)
async def test_a_kubelet_that_dies_on_the_way_there_is_followed_by_one_that_goes_on(
    place: Path, method: str, when: When, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CALL_SECONDS", 60.0)
    async with world(place) as w:
        w.driver.faults.append(Fault(method, when))
        await w.c.client.create(using())
        await w.c.until(lambda: method in w.driver.asked())
        await w.kill_kubelet()
        async with kubelet(place, w.api) as w.c:
            await w.c.ready()
            (w.target() / "row").write_text("1")
            await w.end_pod()
            await w.clean()
            assert (w.disk().path / "row").read_text() == "1"


@pytest.mark.parametrize("when", [When.HANGS, When.SILENT], ids=["before", "after"])
@pytest.mark.parametrize("method", WAY)
async def test_a_kubelet_that_dies_is_followed_by_one_that_cleans_up(
    place: Path, method: str, when: When, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod is deleted by force while no kubelet runs: neither the API nor the engine knows of it any more."""
    monkeypatch.setattr(client, "CALL_SECONDS", 60.0)
    async with world(place) as w:
        w.driver.faults.append(Fault(method, when))
        await w.c.client.create(using())
        if method in BACK:
            await w.c.ready()
            (w.target() / "row").write_text("1")
            await w.c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await w.c.until(lambda: method in w.driver.asked())
        await w.kill_kubelet()
        if w.c.pod() is not None:
            await w.c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        async with kubelet(place, w.api) as w.c:
            await w.clean()
            assert not list((place / "pods").iterdir())
        assert method in THERE or (w.disk().path / "row").read_text() == "1"


async def test_what_was_left_behind_waits_for_its_driver(place: Path) -> None:
    async with world(place) as w:
        await w.c.client.create(using())
        await w.c.ready()
        (w.target() / "row").write_text("1")
        await w.kill_kubelet()
        await w.registrar.stop()
        await w.driver.stop()
        await w.c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        async with kubelet(place, w.api) as w.c:
            await w.c.until(lambda: w.in_use)
            await asyncio.sleep(0.2)
            assert w.in_use and not w.is_clean
            await w.driver.start()
            await w.registrar.start()
            await w.clean()
            await w.c.until(lambda: not list((place / "pods").iterdir()))
        assert (w.disk().path / "row").read_text() == "1"


async def test_pods_run_on_while_their_driver_and_their_kubelet_start_anew(place: Path) -> None:
    async with world(place) as w:
        for name in ("web", "api"):
            await w.c.client.create(using(name))
            await w.c.ready(name)
        (w.target("web") / "row").write_text("1")
        await w.driver.stop()
        await w.driver.start()
        assert (w.target("api") / "row").read_text() == "1"
        await w.kill_kubelet()
        assert (w.target("api") / "row").read_text() == "1"
        async with kubelet(place, w.api) as w.c:
            await w.c.ready("web")
            await w.c.ready("api")
            assert (w.target("api") / "row").read_text() == "1"
            for name in ("web", "api"):
                await w.end_pod(name)
            await w.clean()


async def test_a_volume_that_stays_keeps_none_of_its_pods_others(place: Path) -> None:
    async with world(place, disks=("one", "two")) as w:
        pod = using(claim="one")
        pod.spec.volumes.add(name="more").volume_source.persistent_volume_claim.claim_name = "two"
        await w.c.client.create(pod)
        await w.c.ready()
        w.driver.faults.append(Fault("NodeUnpublishVolume"))
        await w.end_pod()
        await w.clean()
        assert [call.volume for call in w.driver.calls if call.method == "NodeUnpublishVolume"] == ["vol-one", "vol-two", "vol-one"]


async def test_a_volume_that_nobody_hears_of_holds_up_no_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CALL_SECONDS", 60.0)
    async with world(place, disks=("one", "two")) as w:
        for name in ("one", "two"):
            await w.c.client.create(using(name, name))
            await w.c.ready(name)
        w.driver.faults.append(Fault("NodeUnstageVolume", When.HANGS))
        await w.end_pod("one")
        await w.c.until(lambda: "NodeUnstageVolume" in w.driver.asked())
        await w.end_pod("two")
        await w.c.until(lambda: not w.disk("two").staged)
        assert w.disk("one").staged and w.in_use


@pytest.mark.parametrize("write", ["keep_staged", "keep_published", "forget_published", "forget_staged"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_disk_that_takes_nothing_for_a_while(place: Path, write: str, after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = getattr(Records, write), [1]

    def failing(self: Records, *arguments: object) -> None:
        if after:
            real(self, *arguments)
        if left[0]:
            left[0] -= 1
            raise OSError(28, "No space left on device")
        if not after:
            real(self, *arguments)

    monkeypatch.setattr(Records, write, failing)
    async with world(place) as w:
        await w.c.client.create(using())
        await w.c.ready()
        (w.target() / "row").write_text("1")
        await w.end_pod()
        await w.clean()
        assert not left[0] and (w.disk().path / "row").read_text() == "1"


async def test_many_pods_at_once_come_and_go(place: Path) -> None:
    names = [f"web-{number}" for number in range(8)]
    async with world(place, disks=("one", "two")) as w:
        for number, name in enumerate(names):
            await w.c.client.create(using(name, ("one", "two")[number % 2]))
        for name in names:
            await w.c.ready(name)
        for name in names:
            await w.c.client.delete(core.Pod, name, "default", grace_period_seconds=0)
        await w.clean()
        assert w.driver.asked("NodeStageVolume", "NodeUnstageVolume") == [*[WAY[0]] * 2, *[WAY[3]] * 2]

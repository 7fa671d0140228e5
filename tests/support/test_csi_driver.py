"""The driver that other tests stand on keeps the contract itself: calls repeat, and what callers must not ask is refused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from knarr.api.csi.v1 import controller_pb2, controller_pb2_grpc, node_pb2, node_pb2_grpc
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.client.channel import open_plain_channel
from services.kubelet.node.mounts import mounts_below, unmount_all
from tests.support.csi.driver import CsiDriver
from tests.support.csi.faults import Fault, When
from tests.support.csi.storage import Storage

Mode = csi.VolumeCapability.AccessMode
NODE = "machine-1"
needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, which needs root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of a short name: that of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="csi-") as name:
        yield Path(name)
        unmount_all(Path(name))


@asynccontextmanager
async def served(place: Path, **options: Any) -> AsyncIterator[tuple[CsiDriver, Any, Any]]:
    driver = CsiDriver(Storage(place / "disks"), place / "csi.sock", node_id=NODE, **options)
    async with driver, open_plain_channel(driver.target) as channel:
        yield driver, controller_pb2_grpc.ControllerStub(channel), node_pb2_grpc.NodeStub(channel)


def capability(mode: Any = Mode.SINGLE_NODE_WRITER) -> csi.VolumeCapability:
    return csi.VolumeCapability(mount={}, access_mode={"mode": mode})


async def refusal(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_volume_is_made_once_and_gone_once(place: Path) -> None:
    async with served(place) as (driver, controller, _):
        wish = controller_pb2.CreateVolumeRequest(name="a", volume_capabilities=[capability()], capacity_range={"required_bytes": 5})
        first, second = await controller.CreateVolume(wish), await controller.CreateVolume(wish)
        assert first == second and [disk.size_bytes for disk in driver.storage.disks.values()] == [5]
        wish.capacity_range.required_bytes = 6
        assert await refusal(controller.CreateVolume(wish)) is grpc.StatusCode.ALREADY_EXISTS
        for _ in range(2):
            await controller.DeleteVolume(controller_pb2.DeleteVolumeRequest(volume_id=first.volume.volume_id))
        assert not driver.storage.disks and not list((place / "disks").iterdir())


@needs_mounts
async def test_a_volume_goes_to_a_pod_and_back(place: Path) -> None:
    async with served(place) as (driver, controller, node):
        disk = driver.storage.make("a")
        steps = Steps(place, disk.id, controller, node)
        for _ in range(2):
            await steps.attach()
            await steps.stage()
            await steps.publish()
        (steps.target / "row").write_text("1")
        assert (disk.path / "row").read_text() == "1"
        assert len(mounts_below(place)) == 2
        for step in (steps.unpublish, steps.unstage, steps.detach):
            await step()
            await step()
        assert not mounts_below(place) and not steps.target.exists() and not driver.violations
        assert (disk.path / "row").read_text() == "1"


FORBIDDEN: dict[str, tuple[tuple[str, ...], str]] = {
    "staged where it is not attached": ((), "stage"),
    "published where it is not staged": (("attach",), "publish"),
    "unstaged while it is published": (("attach", "stage", "publish"), "unstage"),
    "detached while it is staged": (("attach", "stage"), "detach"),
    "deleted while it is attached": (("attach",), "delete"),
}


@needs_mounts
@pytest.mark.parametrize(("before", "step"), FORBIDDEN.values(), ids=FORBIDDEN)
async def test_what_callers_must_not_ask_is_refused_and_told(place: Path, before: tuple[str, ...], step: str) -> None:
    async with served(place) as (driver, controller, node):
        steps = Steps(place, driver.storage.make("a").id, controller, node)
        for name in before:
            await getattr(steps, name)()
        assert not driver.violations
        assert await refusal(getattr(steps, step)()) is grpc.StatusCode.FAILED_PRECONDITION
        assert len(driver.violations) == 1


DONE: dict[When, bool] = {When.BEFORE: False, When.AFTER: True, When.HANGS: False, When.SILENT: True, When.CRASH: True}


@pytest.mark.parametrize(("when", "done"), DONE.items(), ids=[when.value for when in DONE])
async def test_a_fault_comes_before_the_work_or_after_it(place: Path, when: When, done: bool) -> None:
    async with served(place) as (driver, controller, _):
        driver.faults.append(Fault("CreateVolume", when))
        wish = controller_pb2.CreateVolumeRequest(name="a", volume_capabilities=[capability()])
        await refusal(controller.CreateVolume(wish, timeout=2))
        assert bool(driver.storage.disks) is done
        if when is When.CRASH:
            assert not driver.runs
            await driver.start()
        await controller.CreateVolume(wish, wait_for_ready=True)
        assert driver.asked() == ["CreateVolume"] * 2 and len(driver.storage.disks) == 1


class Steps:
    """The way of one volume to a pod and back, a call each."""

    def __init__(self, place: Path, volume: str, controller: Any, node: Any) -> None:
        self._id, self._controller, self._node = volume, controller, node
        self.staging, self.target = place / "staging", place / "pod" / "mount"
        self.staging.mkdir()
        self.target.parent.mkdir()
        self._context = {"device": f"{volume}@{NODE}"}

    async def attach(self) -> None:
        await self._controller.ControllerPublishVolume(
            controller_pb2.ControllerPublishVolumeRequest(volume_id=self._id, node_id=NODE, volume_capability=capability())
        )

    async def stage(self) -> None:
        await self._node.NodeStageVolume(
            node_pb2.NodeStageVolumeRequest(
                volume_id=self._id,
                publish_context=self._context,
                staging_target_path=str(self.staging),
                volume_capability=capability(),
            )
        )

    async def publish(self) -> None:
        await self._node.NodePublishVolume(
            node_pb2.NodePublishVolumeRequest(
                volume_id=self._id,
                publish_context=self._context,
                staging_target_path=str(self.staging),
                target_path=str(self.target),
                volume_capability=capability(),
            )
        )

    async def unpublish(self) -> None:
        await self._node.NodeUnpublishVolume(node_pb2.NodeUnpublishVolumeRequest(volume_id=self._id, target_path=str(self.target)))

    async def unstage(self) -> None:
        await self._node.NodeUnstageVolume(node_pb2.NodeUnstageVolumeRequest(volume_id=self._id, staging_target_path=str(self.staging)))

    async def detach(self) -> None:
        await self._controller.ControllerUnpublishVolume(controller_pb2.ControllerUnpublishVolumeRequest(volume_id=self._id, node_id=NODE))

    async def delete(self) -> None:
        await self._controller.DeleteVolume(controller_pb2.DeleteVolumeRequest(volume_id=self._id))

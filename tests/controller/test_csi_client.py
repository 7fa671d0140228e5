"""A driver over its real socket: what it can is asked once, its errors are told in gRPC's words, and one that comes back is found."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.csi.v1 import volume_pb2 as csi
from services.controller.csi.client import SocketDriver
from services.controller.csi.driver import RPC, DriverError
from tests.support.csi.driver import NAME, CsiDriver
from tests.support.csi.faults import Fault, When
from tests.support.csi.storage import Storage


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of a short name: that of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="csi-") as name:
        yield Path(name)


@asynccontextmanager
async def asked(place: Path, *, name: str = NAME, seconds: float = 5.0, **options: Any) -> AsyncIterator[tuple[CsiDriver, SocketDriver]]:
    served = CsiDriver(Storage(place / "disks"), place / "csi.sock", **options)
    client = SocketDriver(name, f"unix://{place / 'csi.sock'}", seconds)
    async with served:
        yield served, client
        await client.close()


def wish(name: str = "a") -> pb.CreateVolumeRequest:
    capability = csi.VolumeCapability(mount={}, access_mode={"mode": csi.VolumeCapability.AccessMode.SINGLE_NODE_WRITER})
    return pb.CreateVolumeRequest(name=name, volume_capabilities=[capability], capacity_range={"required_bytes": 5})


async def test_a_driver_says_once_what_it_can(place: Path) -> None:
    async with asked(place, node_id="node-1", topology={"zone": "a"}) as (served, client):
        abilities = await client.abilities()
        assert abilities.can(RPC.CREATE_DELETE_VOLUME) and abilities.topology and abilities.grows_on_nodes
        made = await client.create(wish())
        await client.delete(pb.DeleteVolumeRequest(volume_id=made.volume.volume_id))
        assert served.asked("GetPluginInfo", "CreateVolume", "DeleteVolume") == ["GetPluginInfo", "CreateVolume", "DeleteVolume"]


async def test_a_socket_of_the_controllers_part_says_nothing_of_nodes(place: Path) -> None:
    async with asked(place) as (_, client):
        abilities = await client.abilities()
        assert not abilities.grows_on_nodes and not abilities.topology


async def test_a_driver_of_another_name_is_asked_for_nothing(place: Path) -> None:
    async with asked(place, name="theirs.example.com") as (served, client):
        with pytest.raises(DriverError, match="not theirs"):
            await client.create(wish())
        assert served.storage.disks == {}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("CreateVolume", When.HANGS), grpc.StatusCode.DEADLINE_EXCEEDED),
        (Fault("CreateVolume", When.CRASH), grpc.StatusCode.UNAVAILABLE),
    ],
    ids=["hangs", "dies"],
)
async def test_what_is_not_answered_is_uncertain_and_asked_again(place: Path, fault: Fault, code: grpc.StatusCode) -> None:
    async with asked(place, seconds=0.2) as (served, client):
        served.faults.append(fault)
        await client.abilities()
        with pytest.raises(DriverError) as caught:
            await client.create(wish())
        assert caught.value.is_uncertain and caught.value.code in (code, grpc.StatusCode.UNAVAILABLE)
        if not served.runs:
            await served.start()
        patient = SocketDriver(NAME, f"unix://{place / 'csi.sock'}", 5.0)
        assert (await patient.create(wish())).volume.volume_id == "vol-a" and len(served.storage.disks) == 1
        await patient.close()


async def test_errors_are_told_as_sidecars_tell_them(place: Path) -> None:
    async with asked(place) as (served, client):
        served.faults.append(Fault("CreateVolume", code=grpc.StatusCode.OUT_OF_RANGE, message="too large"))
        with pytest.raises(DriverError, match=r"^rpc error: code = OutOfRange desc = too large$") as caught:
            await client.create(wish())
        assert caught.value.is_infeasible and not caught.value.is_uncertain


async def test_nobody_at_the_socket_is_an_error_of_the_driver(place: Path) -> None:
    client = SocketDriver(NAME, f"unix://{place / 'nobody.sock'}", 1.0)
    with pytest.raises(DriverError) as caught:
        await client.abilities()
    assert caught.value.is_uncertain
    await client.close()

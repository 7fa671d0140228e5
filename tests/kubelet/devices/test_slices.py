"""What drivers of devices told of a node goes once they are away: not at once, and nothing of others."""

from __future__ import annotations

import socket
from collections.abc import Collection
from pathlib import Path

import pytest

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery.errors import status_error
from services.kubelet.csi import drivers
from services.kubelet.devices import slices
from services.kubelet.devices.slices import Absences
from tests.kubelet.devices.device_world import KeptPlans, hurry, kubelet, world
from tests.kubelet.support import NODE
from tests.support.api import FaultyApi
from tests.support.csi.driver import Registrar
from tests.support.dra.driver import NAME, V1, DeviceDriver

OTHER = "nics.example.com"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> list[Collection[str]]:
    """Who was there at each look."""
    looks, look = list[Collection[str]](), Absences.look

    def noting(absences: Absences, known: Collection[str], present: Collection[str], now: float) -> list[str]:
        looks.append(present)
        return look(absences, known, present, now)

    hurry(monkeypatch)
    monkeypatch.setattr(Absences, "look", noting)
    monkeypatch.setattr(slices, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(slices, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(slices, "RETRY", drivers.RETRY)
    return looks


def published(api: FaultyApi) -> set[str]:
    return {found.metadata.name for found in api.all(resource.ResourceSlice)}


def publish(api: FaultyApi, name: str, driver: str = NAME, node: str = NODE) -> None:
    made = resource.ResourceSlice()
    made.metadata.name = name
    made.spec.MergeFrom(resource.ResourceSliceSpec(driver=driver, node_name=node))
    made.spec.pool.MergeFrom(resource.ResourcePool(name=node, resource_slice_count=1))
    api.seed(made)


def test_a_driver_may_be_away_for_half_a_minute() -> None:
    absences = Absences({"early"}, 0)
    for known, present, now, away in [
        ("", "", 29, []),
        ("a b", "a b", 30, ["early"]),
        ("a b", "a", 40, ["early"]),
        # From when it was missed the last time.
        ("a b", "a b", 69, ["early"]),
        ("a b", "a", 70, ["early"]),
        ("a b", "a", 99.9, ["early"]),
        ("a b", "a", 100, ["b", "early"]),
        # One that was gone before anybody looked.
        ("a b c", "a", 101, ["b", "early"]),
        ("a b c", "a", 131, ["b", "c", "early"]),
    ]:
        assert absences.look(known.split(), present.split(), now) == away, now
    for name in ("b", "c", "early"):
        absences.settle(name)
    assert absences.look("abc", "a", 1000) == []
    assert absences.look("abc", "ab", 1001) == absences.look("abc", "a", 1002) == absences.look("abc", "a", 1031) == []
    assert absences.look("abc", "a", 1032) == ["b"]


async def test_what_a_driver_told_goes_with_it_and_nothing_else(place: Path, hurried: list[Collection[str]]) -> None:
    second = DeviceDriver(place / "plugins" / OTHER / "dra.sock", name=OTHER)
    registrar = Registrar(place / "plugins_registry", OTHER, str(second.socket), "DRAPlugin", (V1,))
    async with second, registrar, world(place) as w:
        await w.c.until(lambda: registrar.told)
        publish(w.api, "cards")
        publish(w.api, "more-cards")
        publish(w.api, "nics", OTHER)
        publish(w.api, "elsewhere", node="node-2")
        await w.registrar.stop()
        await w.c.until(lambda: published(w.api) == {"nics", "elsewhere"})
        # It is back, tells again, and is lost again.
        await w.registrar.start()
        await w.c.until(lambda: len(w.registrar.told) == 2 and NAME in hurried[-1])
        publish(w.api, "cards")
        await w.registrar.stop()
        await w.c.until(lambda: published(w.api) == {"nics", "elsewhere"})


@pytest.mark.usefixtures("hurried")
async def test_a_driver_that_was_killed_leaves_its_sockets_but_not_its_devices(place: Path) -> None:
    async with world(place) as w:
        publish(w.api, "cards")
        await w.driver.stop()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(w.driver.socket))
        await w.c.until(lambda: not published(w.api))


@pytest.mark.usefixtures("hurried")
async def test_what_drivers_told_that_do_not_come_back_goes_when_a_kubelet_begins(place: Path) -> None:
    api = FaultyApi()
    publish(api, "cards")
    publish(api, "nics", OTHER)
    driver = DeviceDriver(place / "plugins" / NAME / "dra.sock")
    registrar = Registrar(place / "plugins_registry", NAME, str(driver.socket), "DRAPlugin", (V1,))
    async with driver, registrar, kubelet(place, api, KeptPlans()) as c:
        await c.until(lambda: published(api) == {"cards"})
        assert registrar.told


@pytest.mark.usefixtures("hurried")
async def test_writes_that_fail_are_made_again(place: Path) -> None:
    async with world(place) as w:
        publish(w.api, "cards")
        w.api.fail_next(status_error("ServiceUnavailable", "away"), times=3, verb="delete", message_type=resource.ResourceSlice)
        await w.registrar.stop()
        await w.c.until(lambda: not published(w.api))

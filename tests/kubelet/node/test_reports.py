"""What is reported of a node: its conditions, and its Lease while the API server is away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.machinery.errors import not_found, status_error
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import get_condition
from services.kubelet.node.conditions import news, set_conditions
from services.kubelet.node.lease import LeaseKeeper, patience_seconds
from services.kubelet.node.machine import Pressure
from services.kubelet.node.status import rebooted
from services.kubelet.settings import KubeletSettings
from tests.support.virtual_time import VirtualClock, virtual_time

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def status_of(old: core.NodeStatus, pressure: Pressure, engine: str, network: str, now: datetime) -> core.NodeStatus:
    status = core.NodeStatus()
    set_conditions(status, old, pressure, engine, network, now)
    return status


def shown(status: core.NodeStatus, kind: str) -> tuple[str, str, str]:
    found = get_condition(status, kind)
    assert found is not None
    return found.status, found.reason, found.message


def test_a_transition_is_when_the_status_changed_and_a_heartbeat_is_now() -> None:
    first = status_of(core.NodeStatus(), Pressure(), "", "", NOW)
    second = status_of(first, Pressure(memory=True), "", "", LATER)
    times = {
        kind: (to_datetime(found.last_transition_time), to_datetime(found.last_heartbeat_time))
        for kind in ("Ready", "MemoryPressure")
        if (found := get_condition(second, kind)) is not None
    }
    assert times == {"Ready": (NOW, LATER), "MemoryPressure": (LATER, LATER)}


@pytest.mark.parametrize(
    ("engine", "network", "ready", "unavailable"),
    [
        (
            "",
            "",
            ("True", "KubeletReady", "kubelet is posting ready status"),
            ("False", "PodNetworkReady", "the node has a range of addresses for its pods"),
        ),
        (
            "no such file",
            "",
            ("False", "KubeletNotReady", "container runtime is down: no such file"),
            ("False", "PodNetworkReady", "the node has a range of addresses for its pods"),
        ),
        (
            "no such file",
            "no range",
            ("False", "KubeletNotReady", "the pod network is not ready: no range"),
            ("True", "PodNetworkNotReady", "no range"),
        ),
    ],
    ids=["well", "no engine", "no range"],
)
def test_a_node_in_trouble_says_which(engine: str, network: str, ready: tuple[str, ...], unavailable: tuple[str, ...]) -> None:
    status = status_of(core.NodeStatus(), Pressure(), engine, network, NOW)
    assert (shown(status, "Ready"), shown(status, "NetworkUnavailable")) == (ready, unavailable)


@pytest.mark.parametrize(
    ("kind", "pressure", "short", "well"),
    [
        (
            "MemoryPressure",
            Pressure(memory=True),
            ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        (
            "DiskPressure",
            Pressure(disk=True),
            ("True", "KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        (
            "PIDPressure",
            Pressure(pids=True),
            ("True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
    ],
)
def test_what_a_node_is_short_of_is_said_in_its_condition_and_once_in_an_event(
    kind: str, pressure: Pressure, short: tuple[str, str, str], well: tuple[str, str, str]
) -> None:
    before = status_of(core.NodeStatus(), Pressure(), "", "", NOW)
    pressed = status_of(before, pressure, "", "", LATER)
    assert (shown(before, kind), shown(pressed, kind)) == (well, short)
    assert [found.type for found in pressed.conditions if found.status == "True"] == [kind, "Ready"]
    assert news(before, pressed) == [short[1].replace("Kubelet", "Node")]
    assert news(pressed, before) == [well[1].replace("Kubelet", "Node")]
    assert news(pressed, pressed) == []


def test_a_node_that_is_ready_no_more_says_so_in_an_event() -> None:
    well, ill = (status_of(core.NodeStatus(), Pressure(), trouble, "", NOW) for trouble in ("", "no such file"))
    assert (news(well, ill), news(ill, well)) == (["NodeNotReady"], ["NodeReady"])


@pytest.mark.parametrize(("before", "after", "told"), [("", "b", ""), ("a", "a", ""), ("a", "b", "b")])
def test_a_machine_that_was_started_anew(before: str, after: str, told: str) -> None:
    old, new = (core.NodeStatus(node_info=core.NodeSystemInfo(boot_id=boot)) for boot in (before, after))
    assert rebooted(old, new) == told


def test_what_others_tell_of_the_node_stays() -> None:
    old = core.NodeStatus()
    old.conditions.add(type="Rusty", status="True", reason="Salt")
    old.conditions.add(type="NetworkUnavailable", status="True", reason="NoRouteCreated", message="no route")
    kept = status_of(old, Pressure(), "", "", NOW)
    assert shown(kept, "Rusty") == ("True", "Salt", "")
    assert shown(kept, "NetworkUnavailable") == ("True", "NoRouteCreated", "no route")
    assert shown(status_of(old, Pressure(), "", "no range", NOW), "NetworkUnavailable")[1] == "PodNetworkNotReady"


@virtual_time
async def test_the_lease_is_renewed_after_an_api_server_that_was_away_for_a_day() -> None:
    """More failures in a row than a doubled delay can be written as a float."""
    loop = asyncio.get_running_loop()
    created: list[Any] = []

    class Away:
        async def get(self, *_: object) -> None:
            if loop.time() < 24 * 3600:
                raise status_error("ServiceUnavailable", "away")
            raise not_found("leases", "node-1")

        async def create(self, lease: Any) -> None:
            created.append(lease)

    keeper = LeaseKeeper(cast(Client, Away()), KubeletSettings("node-1", Path("/data"), "192.0.2.1"), VirtualClock(), lambda: None)
    task = asyncio.create_task(keeper.run())
    await asyncio.sleep(24 * 3600 + 8)
    assert not task.done() and [lease.spec.holder_identity for lease in created] == ["node-1"]
    task.cancel()
    await asyncio.wait([task])


@virtual_time
async def test_a_server_that_takes_long_to_refuse_a_heartbeat_is_not_asked_again_at_once() -> None:
    """Of a thousand nodes that come again after half a second it would never get rid: as long as it took, up to a heartbeat's time."""
    loop, asked = asyncio.get_running_loop(), list[float]()

    class Busy:
        async def get(self, *_: object) -> None:
            asked.append(loop.time())
            await asyncio.sleep(10.0)
            raise status_error("Timeout", "etcd did not finish")

    keeper = LeaseKeeper(cast(Client, Busy()), KubeletSettings("node-1", Path("/data"), "192.0.2.1"), VirtualClock(), lambda: None)
    task = asyncio.create_task(keeper.run())
    await asyncio.sleep(59.0)
    task.cancel()
    await asyncio.wait([task])
    assert asked == [0.0, 20.0, 40.0]


@pytest.mark.parametrize(
    ("failures", "took", "least", "most"), [(1, 0.0, 0.2, 0.4), (9, 0.0, 3.5, 7.0), (1, 5.0, 5.0, 5.0), (1, 60.0, 10.0, 10.0)]
)
def test_how_long_a_report_waits_after_a_failure(failures: int, took: float, least: float, most: float) -> None:
    found = {patience_seconds(failures, took, 10.0) for _ in range(20)}
    assert least <= min(found) <= max(found) <= most and (len(found) > 1) == (least < most)

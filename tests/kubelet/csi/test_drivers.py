"""Volume drivers make themselves known to a kubelet: what the cluster is told of them, and when they are the node's no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.backoff import Backoff
from knarr.machinery.errors import status_error
from services.kubelet.csi import drivers
from services.kubelet.csi.node_info import NODE_IDS, Collision, NodeInfo, csi_node, told, with_driver, without_driver
from services.kubelet.csi.places import seen_here, told_to
from services.kubelet.csi.registration import ask, tell, the_very
from services.kubelet.runtime.hollow import HollowRuntime
from tests.kubelet.csi.driver_world import claim_and_volume, using
from tests.kubelet.support import NODE, Cluster, FiledRuntime, running
from tests.support.api import FaultyApi
from tests.support.csi.driver import NAME, CsiDriver, Registrar
from tests.support.csi.faults import Fault
from tests.support.csi.storage import Storage

MACHINE, ZONE = "machine-1", "topology.disks.example.com/zone"


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(drivers, "RETRY", Backoff(first_seconds=0.02, limit_seconds=0.1))


@asynccontextmanager
async def hollow(place: Path, api: FaultyApi | None = None) -> AsyncIterator[Cluster]:
    often: dict[str, Any] = {"status_check_seconds": 0.05, "status_report_seconds": 0.2}
    async with running(FiledRuntime("10.244.0.0/24"), place, api, **often) as cluster:
        yield cluster


def a_driver(place: Path, **options: Any) -> CsiDriver:
    options.setdefault("topology", {ZONE: "a"})
    return CsiDriver(Storage(place / "disks"), place / "plugins" / NAME / "csi.sock", node_id=MACHINE, **options)


def csi_node_of(c: Cluster) -> dict[str, storage.CSINodeDriver]:
    return {driver.name: driver for found in c.api.all(storage.CSINode) for driver in found.spec.drivers}


def node_of(c: Cluster) -> core.Node:
    return c.api.all(core.Node)[0]


async def test_the_cluster_is_told_of_a_driver_that_comes_and_of_one_that_goes(place: Path) -> None:
    async with hollow(place) as c, a_driver(place, limit=5) as driver:
        registrar = Registrar.of(driver, place / "plugins_registry")
        await registrar.start()
        await c.until(lambda: registrar.told)
        assert registrar.told[0].plugin_registered and not registrar.told[0].error
        said = csi_node_of(c)[NAME]
        assert (said.node_id, list(said.topology_keys), said.allocatable.count) == (MACHINE, [ZONE], 5)
        owner = c.api.all(storage.CSINode)[0].metadata.owner_references[0]
        assert (owner.kind, owner.name, owner.uid) == ("Node", NODE, node_of(c).metadata.uid)
        assert node_of(c).metadata.labels[ZONE] == "a"
        assert json.loads(node_of(c).metadata.annotations[NODE_IDS]) == {NAME: MACHINE}
        await registrar.stop()
        await c.until(lambda: not csi_node_of(c) and NODE_IDS not in node_of(c).metadata.annotations)
        assert node_of(c).metadata.labels[ZONE] == "a"
        assert not registrar.told[1:]


async def test_a_driver_that_was_there_before_the_kubelet_is_registered_and_one_that_starts_anew_again(place: Path) -> None:
    async with a_driver(place) as driver, Registrar.of(driver, place / "plugins_registry") as registrar, hollow(place) as c:
        await c.until(lambda: len(registrar.told) == 1)
        await registrar.stop()
        await registrar.start()
        await c.until(lambda: len(registrar.told) == 2)
        await c.until(lambda: NAME in csi_node_of(c))


@pytest.mark.parametrize("taken", [True, False], ids=["another driver", "no driver"])
async def test_a_driver_whose_socket_is_another_plugins_now_is_gone(place: Path, taken: bool) -> None:
    registry, other = place / "plugins_registry", "other.example.com"
    async with hollow(place) as c, a_driver(place) as driver, Registrar.of(driver, registry) as registrar:
        await c.until(lambda: NAME in csi_node_of(c))
        second = Registrar(registry, other, str(driver.socket), kind="CSIPlugin" if taken else "DevicePlugin")
        second.socket = registry / ".being-made"
        async with second:
            second.socket.rename(registrar.socket)
            await c.until(lambda: second.told)
            assert second.told[0].plugin_registered is taken
            if taken:
                await c.until(lambda: list(csi_node_of(c)) == [other])
                assert json.loads(node_of(c).metadata.annotations[NODE_IDS]) == {other: MACHINE}
            else:
                registrar.socket.unlink()
                await c.until(lambda: not csi_node_of(c))


async def test_what_a_plugin_is_told_nobody_hears_who_took_its_sockets_name(tmp_path: Path) -> None:
    async with Registrar(tmp_path) as first:
        with the_very(first.socket) as socket:
            assert (await ask(socket)).name == NAME
            second = Registrar(tmp_path, "other.example.com")
            async with second:
                place = first.socket
                second.socket.rename(place)
                await tell(socket, "")
                assert (len(first.told), len(second.told)) == (1, 0)
                with the_very(place) as new:
                    assert (await ask(new)).name == "other.example.com"
                    await asyncio.gather(tell(new, "no"), tell(socket, "never mind"))
                assert ([told.error for told in first.told], [told.error for told in second.told]) == (["", "never mind"], ["no"])


async def test_a_node_that_is_made_anew_is_told_everything_again(place: Path) -> None:
    async with a_driver(place) as driver, Registrar.of(driver, place / "plugins_registry"), hollow(place) as c:
        await c.until(lambda: NAME in csi_node_of(c))
        before = node_of(c).metadata.uid
        await c.client.delete(core.Node, NODE)
        await c.client.delete(storage.CSINode, NODE)
        await c.until(lambda: c.api.all(core.Node) and node_of(c).metadata.uid != before and NODE_IDS in node_of(c).metadata.annotations)
        await c.until(lambda: NAME in csi_node_of(c))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another type": ({"kind": "DevicePlugin"}, "no handler registered for plugin type: DevicePlugin at socket "),
    "another version": ({"versions": ("2.0.0", "v3")}, f"CSI driver {NAME} speaks 2.0.0, v3, and this kubelet 1.x alone"),
    "no version": ({"versions": ()}, f"CSI driver {NAME} speaks no version"),
    "no name": ({"name": ""}, "has no name"),
    "nothing at its endpoint": ({"endpoint": "/nowhere/csi.sock"}, "rpc error: code = Unavailable"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
async def test_a_plugin_that_is_not_taken_is_told_why(place: Path, options: dict[str, Any], words: str) -> None:
    async with hollow(place) as c, Registrar(place / "plugins_registry", **options) as registrar:
        await c.until(lambda: registrar.told)
        assert not registrar.told[0].plugin_registered and words in registrar.told[0].error
        assert not csi_node_of(c)


@pytest.mark.parametrize("method", ["NodeGetInfo", "NodeGetCapabilities"])
async def test_a_driver_that_fails_to_answer_is_asked_again(place: Path, method: str) -> None:
    async with hollow(place) as c, a_driver(place) as driver:
        driver.faults.append(Fault(method, times=2))
        async with Registrar.of(driver, place / "plugins_registry") as registrar:
            await c.until(lambda: len(registrar.told) == 3)
            assert [status.plugin_registered for status in registrar.told] == [False, False, True]
            assert NAME in csi_node_of(c)


@pytest.mark.parametrize("kind", [core.Node, storage.CSINode], ids=["Node", "CSINode"])
@pytest.mark.parametrize("reason", ["Conflict", "ServiceUnavailable"])
async def test_writes_that_fail_are_made_again(place: Path, kind: Any, reason: str) -> None:
    api = FaultyApi()
    async with hollow(place, api) as c, a_driver(place) as driver:
        for verb in ("create", "update"):
            api.fail_next(status_error(reason, "injected"), verb=verb, message_type=kind, subresource="", after=reason != "Conflict")
        async with Registrar.of(driver, place / "plugins_registry") as registrar:
            await c.until(lambda: registrar.told and registrar.told[-1].plugin_registered)
            assert csi_node_of(c)[NAME].node_id == MACHINE and NODE_IDS in node_of(c).metadata.annotations
        api.heal()
        api.fail_next(status_error(reason, "injected"), verb="update", message_type=kind, subresource="", after=reason != "Conflict")
        await c.until(lambda: not csi_node_of(c) and NODE_IDS not in node_of(c).metadata.annotations)


async def test_a_driver_that_calls_the_node_otherwise_is_told_anew(place: Path) -> None:
    async with hollow(place) as c:
        for machine in ("machine-1", "machine-2"):
            driver = CsiDriver(Storage(place / "disks"), place / "csi.sock", node_id=machine)
            async with driver, Registrar.of(driver, place / "plugins_registry") as registrar:
                await c.until(lambda: registrar.told)
                assert registrar.told[0].plugin_registered and csi_node_of(c)[NAME].node_id == machine
                # As one that is killed: nobody takes the socket away.
                (place / "kept").unlink(missing_ok=True)
                registrar.socket.rename(place / "kept")
                (place / "kept").rename(registrar.socket)


async def test_hidden_and_other_files_are_no_plugins(place: Path) -> None:
    async with hollow(place) as c:
        (place / "plugins_registry" / "notes.sock").write_text("no socket")
        async with a_driver(place) as driver, Registrar.of(driver, place / "plugins_registry") as shown:
            hidden = Registrar(place / "plugins_registry", ".hidden")
            async with hidden:
                await c.until(lambda: shown.told)
                await asyncio.sleep(0.1)
                assert not hidden.told


async def test_a_hollow_node_asks_no_drivers_and_its_pods_run(place: Path) -> None:
    api = FaultyApi()
    api.seed(*claim_and_volume())
    registry = place / "plugins_registry"
    async with a_driver(place) as driver, Registrar.of(driver, registry) as told, running(HollowRuntime("10.244.0.0/24"), place, api) as c:
        await c.client.create(using())
        await c.ready()
        await c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await c.until(lambda: c.pod() is None)
        assert not driver.calls and not told.told and not api.all(storage.CSINode)


def test_a_place_that_the_node_is_not_at_is_refused() -> None:
    node = core.Node()
    node.metadata.labels[ZONE] = "b"
    with pytest.raises(Collision, match=f'driver reported "{ZONE}":"a" but existing label is "{ZONE}":"b"'):
        with_driver(node, NAME, NodeInfo(MACHINE, {ZONE: "a"}))


def test_drivers_keep_out_of_one_anothers_way() -> None:
    node = core.Node()
    node.metadata.name = NODE
    node.metadata.annotations[NODE_IDS] = "no JSON"
    one = with_driver(node, "one", NodeInfo("1"))
    both = with_driver(one, "two", NodeInfo("2"))
    assert json.loads(both.metadata.annotations[NODE_IDS]) == {"one": "1", "two": "2"}
    assert without_driver(both, "two") == one
    assert NODE_IDS not in without_driver(one, "one").metadata.annotations
    known = told(told(csi_node(node), "one", NodeInfo("1", most_volumes=2**40)), "two", NodeInfo("2"))
    assert [(driver.name, driver.HasField("allocatable"), driver.allocatable.count) for driver in known.spec.drivers] == [
        ("one", True, 2**31 - 1),
        ("two", False, 0),
    ]
    assert not told(told(known, "one", None), "two", None).spec.drivers


@pytest.mark.parametrize(
    ("path", "here"),
    [
        ("/var/lib/kubelet", "/data"),
        ("/var/lib/kubelet/plugins/x/csi.sock", "/data/plugins/x/csi.sock"),
        ("/var/lib/kubelets/x", "/var/lib/kubelets/x"),
        ("/run/csi.sock", "/run/csi.sock"),
    ],
)
def test_kubernetes_name_of_the_kubelets_folder_is_the_nodes(path: str, here: str) -> None:
    assert seen_here(path, "/data") == here and seen_here(path, "") == path


def test_a_driver_is_told_paths_in_its_own_words() -> None:
    pod, data = Path("/data/pods/uid/mount"), Path("/data")
    assert told_to("/var/lib/kubelet/plugins/x/csi.sock", pod, data) == "/var/lib/kubelet/pods/uid/mount"
    assert told_to("/data/plugins/x/csi.sock", pod, data) == str(pod)
    assert told_to("/var/lib/kubelet/plugins/x/csi.sock", Path("/elsewhere"), data) == "/elsewhere"

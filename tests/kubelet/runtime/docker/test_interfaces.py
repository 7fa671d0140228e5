"""What is known of pods' interfaces, and who lays them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from knarr.netlink.route_messages import UP, Counters, Link
from services.kubelet.runtime import interface
from services.kubelet.runtime.docker import interfaces
from services.kubelet.runtime.docker.bodies import NO_NETWORK
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.docker.interfaces import EngineInterfaces, InterfaceFailure
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.owned import OwnContainers
from services.kubelet.runtime.docker.sandboxes import EngineSandboxes
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.interface import NodeEnds, PodInterface, name_of
from services.kubelet.runtime.plan import PodRef, SandboxPlan

SETTINGS = DockerSettings("test", "node-1", "10.244.0.0/29")
PLAN = SandboxPlan(PodRef("default", "web", "uid"), 0, "web")
NONE = Counters()
BRIDGE, POD, OTHER = 7, "a" * 64, "b" * 64


def end(sandbox_id: str, flags: int = UP, master: int = BRIDGE, counters: Counters = NONE) -> tuple[str, Link]:
    name = name_of(sandbox_id)
    return name, Link(9, flags, name, "", 1500, "veth", b"", master, counters)


def test_a_name_is_as_long_as_the_kernel_allows_and_an_address_follows_from_the_pods() -> None:
    assert len(name_of(POD).encode()) == 15
    assert name_of(POD) != name_of(OTHER)
    assert PodInterface("knarr0", "10.244.0.10", 24, "10.244.0.1", 1500).mac == "02:6b:0a:f4:00:0a"


@pytest.mark.parametrize(
    ("ends", "whole"),
    [
        (dict([end(POD)]), True),
        ({}, False),
        (dict([end(OTHER)]), False),
        (dict([end(POD, flags=0)]), False),
        (dict([end(POD, master=0)]), False),
        (dict([end(POD, master=8)]), False),
    ],
)
def test_an_interface_is_whole_where_its_end_is_up_and_a_port_of_the_bridge(ends: dict[str, Link], whole: bool) -> None:
    assert NodeEnds(BRIDGE, ends).whole(POD) is whole
    assert NodeEnds(0, ends).whole(POD), "without the bridge nobody can tell"


def test_ports_of_the_bridge_alone_are_strange() -> None:
    ends = NodeEnds(BRIDGE, dict([end(POD), end(OTHER), end("c" * 64, master=8), end("d" * 64, master=0)]))
    assert ends.strange([POD]) == [name_of(OTHER)]
    assert ends.strange([POD, OTHER]) == []
    assert NodeEnds(0, ends.links).strange([]) == [], "without the bridge, as with an engine elsewhere, nothing here is ours"


def test_what_the_nodes_end_receives_the_pod_has_sent() -> None:
    use = NodeEnds(BRIDGE, dict([end(POD, counters=Counters(1, 2, 3, 4, 5, 6, 7, 8))])).use(POD)
    assert use is not None
    assert (use.interface, use.sent_packets, use.received_packets, use.sent_bytes, use.received_bytes) == ("eth0", 1, 2, 3, 4)
    assert (use.sent_errors, use.received_errors, use.sent_dropped, use.received_dropped) == (5, 6, 7, 8)
    assert NodeEnds(BRIDGE, {}).use(POD) is None


class ObedientEngine:
    """Makes and starts what it is asked for."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.removed: list[str] = []

    async def request(self, method: str, path: str, *, body: Any = None, **_: object) -> Any:
        match method, path.rpartition("/")[2]:
            case "POST", "create":
                self.bodies.append(body)
                return {"Id": POD}
            case "GET", _:
                return {"Id": POD, "State": {"Pid": 1}}
            case "DELETE", _:
                self.removed.append(path)
        return None

    @property
    def networks(self) -> list[str]:
        return [body["HostConfig"]["NetworkMode"] for body in self.bodies]


@pytest.fixture
def engine() -> ObedientEngine:
    return ObedientEngine()


@pytest.fixture
def laid(engine: ObedientEngine, monkeypatch: pytest.MonkeyPatch) -> list[PodInterface]:
    """Interfaces that were laid, on a machine that has the bridge."""
    found: list[PodInterface] = []
    monkeypatch.setattr(interfaces, "is_here", lambda _: True)
    monkeypatch.setattr(interfaces, "has_capabilities", lambda *_: True)
    monkeypatch.setattr(interface, "lay", lambda wanted, sandbox_id, pid: found.append(wanted))
    monkeypatch.setattr(interface, "remove", lambda names: None)
    return found


def sandboxes(engine: ObedientEngine) -> EngineSandboxes:
    real = cast(Engine, engine)
    made = EngineInterfaces(real, SETTINGS)
    return EngineSandboxes(real, SETTINGS, {}, OwnContainers(real, {}), made, EngineObserver(real, SETTINGS, {}, made))


async def test_a_sandbox_is_made_without_a_network_and_gets_its_interface(engine: ObedientEngine, laid: list[PodInterface]) -> None:
    made = await sandboxes(engine).create(PLAN)
    assert engine.networks == [NO_NETWORK]
    assert laid == [PodInterface("knarr0", made.ip, 29, "10.244.0.1", 1500)]


async def test_one_whose_interface_cannot_be_made_is_removed(
    engine: ObedientEngine, laid: list[PodInterface], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(interface, "lay", refuse)
    with pytest.raises(InterfaceFailure, match="cannot be made: No space left"):
        await sandboxes(engine).create(PLAN)
    assert engine.removed == [f"containers/{POD}"]


async def test_where_the_kernel_does_not_let_us_the_engine_does_it_from_then_on(
    engine: ObedientEngine, laid: list[PodInterface], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "setns")

    monkeypatch.setattr(interface, "lay", refuse)
    made = sandboxes(engine)
    with pytest.raises(InterfaceFailure, match="may not be made"):
        await made.create(PLAN)
    await made.create(PLAN)
    assert engine.networks == [NO_NETWORK, SETTINGS.network]


async def test_the_engine_does_it_without_the_capabilities_or_the_bridge(
    engine: ObedientEngine, laid: list[PodInterface], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces, "has_capabilities", lambda *_: False)
    await sandboxes(engine).create(PLAN)
    monkeypatch.setattr(interfaces, "has_capabilities", lambda *_: True)
    monkeypatch.setattr(interfaces, "is_here", lambda _: False)
    await sandboxes(engine).create(PLAN)
    assert (engine.networks, laid) == ([SETTINGS.network] * 2, [])

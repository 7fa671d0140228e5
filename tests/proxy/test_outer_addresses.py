"""Addresses of load balancers on the node's interfaces, in the kernel: any interface, and one that is refused holds up no other."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from services.proxy.datapath.node_network import NodeNetwork
from services.proxy.datapath.outer_addresses import LABEL_BYTES, OuterAddresses, label_of
from services.proxy.datapath.port import Datapath
from tests.proxy.conformance import answers, change, route
from tests.proxy.laboratory import Laboratory, Namespace, ip

NEAR, OTHER, FAR = "192.168.50.200", "192.168.50.201", "203.0.113.7"
NAMES = ["a", "eth0", "enp0s31", "enp0s31f", "enp0s31f6", "enx00e04c68", "enP4p65s0f0", "enx001122334455"]
TAG = ":k12345"
Make = Callable[..., OuterAddresses]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    with made.entered():
        yield made
    made.close()


@pytest.fixture
def network(namespace: Namespace) -> Iterator[NodeNetwork]:
    made = NodeNetwork(("10.96.0.0/16",))
    yield made
    made.close()


@pytest.fixture
def outer(network: NodeNetwork) -> Make:
    return lambda **more: OuterAddresses(network, "knarr", "knarr0", **{"bind": False, **more})


def interface(name: str, cidr: str = "192.168.50.1/24", *, up: bool = True) -> None:
    ip(f"link add name {name} type bridge", f"addr add {cidr} dev {name}", *([f"link set dev {name} up"] if up else []))


@pytest.mark.parametrize("device", [*NAMES, "größer", "x" * LABEL_BYTES])
def test_a_label_fits_and_keeps_its_tag(device: str) -> None:
    label = label_of(device, TAG)
    assert len(label.encode()) <= LABEL_BYTES and label.endswith(TAG)
    assert not device.isascii() or device.startswith(label.removesuffix(TAG))


@pytest.mark.net
@pytest.mark.parametrize("device", NAMES)
@pytest.mark.parametrize("bind", [False, True])
def test_an_interface_of_any_name_holds_addresses(network: NodeNetwork, outer: Make, device: str, *, bind: bool) -> None:
    interface(device)
    made = outer(bind=bind)
    made.want({NEAR, OTHER}, {NEAR, OTHER})
    assert dict(made.held) == {NEAR: device, OTHER: device} and not made.problems
    # Another process finds them again.
    heir = outer(bind=bind)
    heir.adopt()
    assert dict(heir.held) == dict(made.held)
    heir.want({OTHER}, {OTHER})
    assert dict(heir.held) == {OTHER: device}
    heir.remove_all()
    assert {address for address, *_ in network.labelled_addresses()} == {"127.0.0.1", "192.168.50.1"}


@pytest.mark.net
def test_an_interface_that_is_renamed_gives_its_address_back(network: NodeNetwork, outer: Make) -> None:
    interface("eth0")
    made = outer()
    made.want({NEAR}, {NEAR})
    ip("link set eth0 down", "link set eth0 name enx001122334455", "link set enx001122334455 up")
    made.look_after()
    assert dict(made.held) == {NEAR: "enx001122334455"}
    made.want(set(), set())
    assert {address for address, *_ in network.labelled_addresses()} == {"127.0.0.1", "192.168.50.1"} and not made.problems


def refusing(monkeypatch: pytest.MonkeyPatch, network: NodeNetwork, name: str, *refused: str) -> list[str]:
    """The kernel refuses these addresses for as long as they are in the list."""
    left = list(refused)
    real: Any = getattr(network.kernel, name)

    def change(addresses: Collection[str], **more: Any) -> dict[str, int]:
        good = [address for address in addresses if address not in left]
        done: dict[str, int] = real(good, **more)
        return done | {address: errno.ENOBUFS for address in addresses if address in left}

    monkeypatch.setattr(network.kernel, name, change)
    return left


@pytest.mark.net
@pytest.mark.parametrize("bind", [False, True])
def test_an_address_that_is_refused_holds_up_no_other(
    network: NodeNetwork, outer: Make, monkeypatch: pytest.MonkeyPatch, *, bind: bool
) -> None:
    interface("eth0")
    left = refusing(monkeypatch, network, "change_addresses", NEAR)
    made = outer(bind=bind)
    for _ in range(2):
        made.want({NEAR, OTHER, FAR}, {NEAR, OTHER})
        assert OTHER in made.held and NEAR not in made.held
        assert dict(made.problems) == {NEAR: f"{NEAR} could not be put on eth0: No buffer space available"}
    left.clear()
    made.look_after()
    assert {NEAR, OTHER} <= made.held.keys() and not made.problems


@pytest.mark.net
def test_an_address_that_cannot_be_taken_back_is_tried_again(network: NodeNetwork, outer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    interface("eth0")
    made = outer()
    made.want({NEAR, OTHER}, {NEAR, OTHER})
    left = refusing(monkeypatch, network, "change_addresses", NEAR)
    made.want(set(), set())
    assert made.held.keys() == {NEAR} == made.problems.keys()
    left.clear()
    made.look_after()
    assert not made.held and not made.problems


@pytest.mark.net
def test_a_route_that_is_refused_holds_up_no_other(network: NodeNetwork, outer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    left = refusing(monkeypatch, network, "change_routes", FAR)
    made = outer()
    made.want({FAR, "203.0.113.8"}, set())
    assert dict(made.problems) == {FAR: f"this node's own processes do not reach {FAR}: No buffer space available"}
    left.clear()
    made.look_after()
    assert not made.problems
    assert len(network.kernel.without_route([FAR, "203.0.113.8"])) == 0


@pytest.mark.net
def test_an_announcement_that_fails_is_told_and_made_later(network: NodeNetwork, outer: Make) -> None:
    interface("eth0", up=False)
    interface("enx001122334455", "192.168.60.1/24")
    made = outer()
    for _ in range(5):
        made.want({NEAR, "192.168.60.200"}, {NEAR, "192.168.60.200"})
        assert dict(made.problems) == {NEAR: f"{NEAR} could not be announced on eth0: Network is down"}
        assert made.held.keys() == {NEAR, "192.168.60.200"}
    ip("link set eth0 up")
    made.look_after()
    assert not made.problems


@pytest.mark.net
async def test_it_is_told_of_the_services_own_route_alone(lab: Laboratory, datapath: Datapath) -> None:
    """A down interface: the address cannot be announced there; the other Service is served at once."""
    interface("enx001122334455", "192.168.60.1/24", up=False)
    one = route(0, load_balancer_ips=("192.168.60.200",), held=True)
    other = route(1, service="other", cluster_ip="10.96.0.20", node_port=0, load_balancer_ips=(NEAR,), held=True)
    await datapath.apply(change(None, one))
    await datapath.apply(change(None, other))
    assert any("could not be announced on enx001122334455" in words for words in datapath.limits_of(one))
    assert not any("announced" in words for words in datapath.limits_of(other))
    assert one.key in datapath.limited
    assert await answers(lab, 1, NEAR, origin=lab.outside) == {"pod1": 1}
    ip("link set enx001122334455 up")
    await datapath.check()
    assert not any("announced" in words for words in datapath.limits_of(one))

"""The pod network in a kernel, one step after the other: what is read is what was made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.proxy.podnetwork.links import PodLinks
from services.proxy.podnetwork.plan import AUTO
from services.proxy.podnetwork.state import Device, Forward, Neighbour, Route, State, Step, steps
from services.proxy.policy import bridging
from services.proxy.policy.bridging import BridgeCalls
from services.proxy.settings import ProxySettings
from tests.proxy.laboratory import Namespace, ip

pytestmark = pytest.mark.net

SETTINGS = ProxySettings(pod_network=AUTO, node_name="node-0")
FAR_MAC = "02:42:00:00:00:02"
DEVICE = Device(SETTINGS.vxlan_device, 42, 4789, "192.0.2.5", "02:42:00:00:00:01", "10.244.0.0", 1450)
THROUGH, NEAR = Route("10.244.1.0/24", "10.244.1.0", DEVICE.name), Route("10.244.2.0/24", "192.0.2.7")
WHOLE = State(DEVICE, frozenset({THROUGH, NEAR}), frozenset({Neighbour("10.244.1.0", FAR_MAC)}), frozenset({Forward(FAR_MAC, "192.0.2.8")}))


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    with made.entered():
        ip("link set lo up", "link add eth9 type veth peer name eth8", "link set eth9 up", "link set eth8 up")
        ip("addr add 192.0.2.5/24 dev eth9", "link add pods type bridge")
        yield made
    made.close()


@pytest.fixture
def links(namespace: Namespace) -> Iterator[PodLinks]:
    made = PodLinks(SETTINGS)
    yield made
    made.close()


def bring(links: PodLinks, wanted: State) -> None:
    for step in steps(links.read(), wanted):
        links.perform(step)
    assert links.read() == wanted


def test_from_nothing_to_all_of_it_and_back(links: PodLinks) -> None:
    assert links.read() == State()
    found = links.underlay("192.0.2.5")
    assert found is not None and (str(found.network), found.mtu) == ("192.0.2.0/24", 1500)
    assert links.underlay("192.0.2.99") is None
    bring(links, WHOLE)
    # Another way, another end of it, and another number of the network, for which the device is made anew.
    bring(
        links,
        replace(WHOLE, routes=frozenset({Route(THROUGH.destination, "192.0.2.9")}), forwards=frozenset({Forward(FAR_MAC, "192.0.2.18")})),
    )
    bring(links, replace(WHOLE, device=replace(DEVICE, vni=43)))
    bring(links, State())


def test_a_device_that_gets_another_address_keeps_what_leads_through_it(links: PodLinks) -> None:
    bring(links, WHOLE)
    bring(links, replace(WHOLE, device=replace(DEVICE, address="10.244.9.0", mtu=1400)))


def test_what_is_gone_or_there_already_is_no_error_and_what_is_refused_is(links: PodLinks) -> None:
    links.block()
    links.block()
    links.perform(Step("remove", NEAR))
    with pytest.raises(OSError, match="unreachable"):
        links.perform(Step("add", Route("10.244.1.0/24", "203.0.113.1")))
    with pytest.raises(OSError, match="is gone"):
        links.perform(Step("add", THROUGH))
    links.unblock()
    links.unblock()


def test_a_bridge_whose_packets_are_not_seen_is_told_to_show_them(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridging, "read_sysctl", lambda _: "0")
    calls = BridgeCalls("pods")
    try:
        before, complaint = calls._kernel.link("pods"), calls.ensure()
        after = calls._kernel.link("pods")
        assert before is not None and after is not None
        assert (bridging._is_set(before), complaint, bridging._is_set(after)) == (False, "", True)
    finally:
        calls.close()
    away = BridgeCalls("nonesuch")
    assert away.ensure() == ""
    away.close()

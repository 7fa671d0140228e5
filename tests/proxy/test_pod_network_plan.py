"""The pod network's heart: from Nodes to the wanted state, and from one state to another."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from services.proxy.podnetwork.plan import AUTO, ROUTES, VXLAN, Member, Plan, Underlay, make_plan, members
from services.proxy.podnetwork.state import Device, Forward, Neighbour, Route, State, steps
from services.proxy.settings import ProxySettings

SETTINGS = ProxySettings(pod_network=AUTO, node_name="here")
LAN = Underlay(IPv4Network("192.168.1.0/24"), 1500)
HERE = Member("here", "10.244.0.0/24", "192.168.1.1")
NEAR = Member("near", "10.244.1.0/24", "192.168.1.2")
FAR = Member("far", "10.244.2.0/24", "172.16.0.2")
DEVICE = Device("knarr-vx", 75, 8472, "192.168.1.1", "02:6b:c0:a8:01:01", "10.244.0.0", 1450)

T = TypeVar("T")


def plan(*found: Member, mode: str = AUTO, underlay: Underlay | None = LAN) -> Plan:
    return make_plan(replace(SETTINGS, pod_network=mode), found, underlay)


def test_near_nodes_by_routes_and_far_ones_by_vxlan() -> None:
    made = plan(HERE, NEAR, FAR)
    assert [(peer.node, peer.way, peer.problem) for peer in made.peers] == [("near", ROUTES, ""), ("far", VXLAN, "")]
    assert made.state == State(
        DEVICE,
        frozenset({Route("10.244.1.0/24", "192.168.1.2"), Route("10.244.2.0/24", "10.244.2.0", "knarr-vx")}),
        frozenset({Neighbour("10.244.2.0", "02:6b:ac:10:00:02")}),
        frozenset({Forward("02:6b:ac:10:00:02", "172.16.0.2")}),
    )


def test_no_device_where_none_is_needed_and_all_through_it_where_chosen() -> None:
    assert plan(HERE, NEAR).state == State(routes=frozenset({Route("10.244.1.0/24", "192.168.1.2")}))
    chosen = plan(HERE, NEAR, FAR, mode=VXLAN)
    assert {peer.way for peer in chosen.peers} == {VXLAN}
    assert {route.device for route in chosen.state.routes} == {"knarr-vx"}
    assert plan(HERE, mode=VXLAN).state.device == DEVICE


def test_plain_routes_to_another_network_are_refused_in_words() -> None:
    made = plan(HERE, NEAR, FAR, mode=ROUTES)
    assert [peer.problem for peer in made.peers] == [
        "",
        "its address 172.16.0.2 is not on this node's network 192.168.1.0/24; plain routes do not lead there",
    ]
    assert made.state.device is None and len(made.state.routes) == 1


def test_further_networks_are_reached_by_routes_through_whom_the_settings_say() -> None:
    further = replace(SETTINGS, pod_network=ROUTES, next_hops=(("172.16.0.0/24", ""), ("172.17.0.1/32", "192.168.1.9")))
    made = make_plan(further, [HERE, NEAR, FAR, Member("behind", "10.244.3.0/24", "172.17.0.1")], LAN)
    assert [(peer.node, peer.way, peer.problem) for peer in made.peers] == [(name, ROUTES, "") for name in ("near", "far", "behind")]
    assert {(route.destination, route.gateway) for route in made.state.routes} == {
        ("10.244.1.0/24", "192.168.1.2"),
        ("10.244.2.0/24", "172.16.0.2"),
        ("10.244.3.0/24", "192.168.1.9"),
    }


def test_an_address_without_a_network_has_no_neighbours() -> None:
    made = plan(HERE, NEAR, underlay=Underlay(IPv4Network("192.168.1.1/32"), 9000))
    assert made.peers[0].way == VXLAN
    assert made.state.device is not None and made.state.device.mtu == 8950


@pytest.mark.parametrize(
    ("own", "underlay", "problem"),
    [
        (Member("other", "", ""), LAN, "the node here has not registered with an InternalIP yet"),
        (replace(HERE, pod_cidr=""), LAN, "the node here has no podCIDR yet"),
        (replace(HERE, pod_cidr="10.9.0.0/24"), LAN, "the range 10.9.0.0/24 lies outside the cluster's range 10.244.0.0/16"),
        (HERE, None, "no interface of this node has its InternalIP 192.168.1.1"),
    ],
)
def test_what_is_missing_of_this_node_is_said(own: Member, underlay: Underlay | None, problem: str) -> None:
    made = plan(own, NEAR, underlay=underlay)
    assert made.problem == problem and made.peers == ()


@pytest.mark.parametrize(
    ("peer", "problem"),
    [
        (replace(NEAR, pod_cidr=""), "it has no podCIDR yet"),
        (replace(NEAR, address=""), "it has no InternalIP yet"),
        (replace(NEAR, pod_cidr="0.0.0.0/0"), "the range 0.0.0.0/0 lies outside the cluster's range 10.244.0.0/16"),
        (replace(NEAR, pod_cidr="10.244.1.7/24"), "10.244.1.7/24 is not a range of addresses: 10.244.1.7/24 has host bits set"),
        (replace(NEAR, pod_cidr="10.244.0.0/25"), "its range 10.244.0.0/25 overlaps that of the node here"),
        (replace(NEAR, pod_cidr="10.244.2.128/25"), "its range 10.244.2.128/25 overlaps that of the node far"),
    ],
)
def test_a_peer_that_cannot_be_reached_harms_no_other(peer: Member, problem: str) -> None:
    made = plan(HERE, FAR, peer)
    assert {found.node: found.problem for found in made.peers} == {"far": "", "near": problem}
    assert {route.destination for route in made.state.routes} == {FAR.pod_cidr}


def test_the_older_of_two_rivals_keeps_its_range() -> None:
    nodes = []
    for name, seconds in (("young", 20), ("old", 10)):
        node = core.Node()
        node.metadata.name, node.metadata.creation_timestamp.seconds = name, seconds
        node.spec.pod_cidr = "10.244.7.0/24"
        node.status.addresses.add(type="Hostname", address=name)
        node.status.addresses.add(type="InternalIP", address=f"192.168.1.{seconds}")
        nodes.append(node)
    found = members(nodes)
    assert found == [Member("old", "10.244.7.0/24", "192.168.1.10"), Member("young", "10.244.7.0/24", "192.168.1.20")]
    assert plan(HERE, *found).state.routes == {Route("10.244.7.0/24", "192.168.1.10")}


MEMBERS = st.builds(
    lambda number, near, moved: Member(
        f"node-{number}", f"10.244.{number}.0/24", f"{'192.168.1' if near else '172.16.0'}.{100 + number + 50 * moved}"
    ),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
)
STATES = st.builds(
    lambda found, mode, mtu: plan(HERE, *{one.name: one for one in found}.values(), mode=mode, underlay=Underlay(LAN.network, mtu)).state,
    st.lists(MEMBERS, max_size=6),
    st.sampled_from([AUTO, ROUTES, VXLAN]),
    st.sampled_from([1500, 9000]),
)


class FakeKernel:
    """Keeps the rules that the kernel keeps."""

    def __init__(self, state: State) -> None:
        self.device = state.device
        self.routes = {route.destination: route for route in state.routes}
        self.neighbours = {found.address: found for found in state.neighbours}
        self.forwards = set(state.forwards)

    def perform(self, verb: str, what: Device | Route | Neighbour | Forward) -> None:
        if isinstance(what, Device):
            assert (self.device is None) == (verb == "add")
            if verb in ("replace", "remove"):
                self.routes = {key: route for key, route in self.routes.items() if not route.device}
                self.neighbours, self.forwards = {}, set()
            self.device = None if verb == "remove" else what
        elif isinstance(what, Route):
            assert not what.device or verb == "remove" or self.device is not None
            self._put(self.routes, what.destination, verb, what)
        elif isinstance(what, Neighbour):
            assert self.device is not None
            self._put(self.neighbours, what.address, verb, what)
        else:
            assert self.device is not None and (what in self.forwards) == (verb == "remove")
            self.forwards ^= {what}

    @staticmethod
    def _put(table: dict[str, T], key: str, verb: str, what: T) -> None:
        if verb == "remove":
            assert table.pop(key) == what
        else:
            assert verb == "replace" or key not in table
            table[key] = what

    @property
    def state(self) -> State:
        return State(self.device, frozenset(self.routes.values()), frozenset(self.neighbours.values()), frozenset(self.forwards))


@hypothesis_settings(max_examples=150, deadline=None)
@given(STATES, STATES, st.booleans())
def test_the_steps_lead_from_any_state_to_any_other(actual: State, wanted: State, foreign: bool) -> None:
    if foreign and actual.device is not None:
        actual = replace(actual, device=replace(actual.device, vni=9))
    kernel = FakeKernel(actual)
    for step in steps(actual, wanted):
        kernel.perform(*step)
    assert kernel.state == wanted
    assert list(steps(wanted, wanted)) == []


def test_what_stays_is_not_touched() -> None:
    before, after = plan(HERE, NEAR, FAR).state, plan(HERE, replace(NEAR, address="192.168.1.9"), FAR).state
    assert [(step.verb, step.what) for step in steps(before, after)] == [("replace", Route("10.244.1.0/24", "192.168.1.9"))]

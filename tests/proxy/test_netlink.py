"""Our own netlink messages and nft's language mean the same to the kernel."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.proxy.datapath.nftables import ruleset
from services.proxy.datapath.nftables.libnftables import Nftables
from services.proxy.datapath.nftables.netlink import NetlinkConnection, NetlinkRefused, encode
from services.proxy.datapath.nftables.operations import AddChain, AddMap, AddVerdict, DeleteElement
from services.proxy.datapath.nftables.skeleton import Base, skeleton
from services.proxy.datapath.nftables.slots import Slots
from services.proxy.routing.table import CLUSTER, LOCAL, Endpoint, Route, RouteKey, RoutingTable, diff
from tests.proxy.laboratory import Namespace

pytestmark = pytest.mark.net

BASE = Base("knarr", "10.96.0.0/16", "10.244.0.0/16", "knarr0")


@pytest.fixture
def nft() -> Iterator[Nftables]:
    namespace = Namespace()
    with namespace.entered():
        made = Nftables()
        made.run(skeleton(BASE))
        yield made
        made.close()
    namespace.close()


@pytest.fixture
def netlink(nft: Nftables) -> Iterator[NetlinkConnection]:
    made = NetlinkConnection()
    yield made
    made.close()


def table(**pods: tuple[int, ...]) -> RoutingTable:
    """TCP and UDP routes, with all that a route may have where there is an even number of pods, affinity where there are two."""
    found = {}
    for number, (name, last) in enumerate(pods.items(), 1):
        endpoints = tuple(Endpoint(f"10.244.0.{pod}", 8080 + pod) for pod in last)
        key = RouteKey("default", name, "http")
        made = Route(key, "udp" if name == "dns" else "tcp", (f"10.96.0.{number}",), 80, 0, endpoints)
        if len(last) % 2 == 0:
            made = replace(
                made,
                node_port=30000 + number,
                external_ips=(f"192.0.2.{number}",),
                load_balancer_ips=(f"198.51.100.{number}",),
                source_ranges=("10.0.0.0/9", "192.0.2.0/24", "198.51.100.7/32"),
                external_policy=LOCAL if number % 2 else CLUSTER,
                local_endpoints=endpoints[:1],
                affinity_seconds=60 if len(last) == 2 else 0,
                held=True,
            )
        found[key] = made
    return found


def uncounted(name: str, slot: int) -> int:
    return 0


def listed() -> list[str]:
    """The table's lines, order aside: chains and elements are listed in the order in which they were made."""
    done = subprocess.run(["nft", "list", "table", "ip", "knarr"], check=True, capture_output=True, text=True, timeout=10)
    return sorted(re.sub(r"[{}]|elements =|,", " ", done.stdout).split())


TABLES = [
    table(),
    table(web=(1, 2, 3), dns=(1, 2), empty=()),
    table(web=(2, 3, 4), dns=(1,), empty=(5,)),
    table(web=(), more=(6, 7), empty=(5, 6)),
    table(),
]


@pytest.mark.parametrize("wanted", TABLES)
def test_both_ways_lead_to_the_same_table(nft: Nftables, netlink: NetlinkConnection, wanted: RoutingTable) -> None:
    nft.run(ruleset.full(BASE, Slots(), (wanted[key] for key in sorted(wanted))))
    through_text = listed()
    nft.run(skeleton(BASE))
    netlink.commit(encode("knarr", ruleset.operations(Slots(), diff({}, wanted), uncounted)))
    assert listed() == through_text
    assert (through_text.count("numgen") > 1) == any(route.endpoints for route in wanted.values())


def test_changes_leave_nothing_of_what_was_before(nft: Nftables, netlink: NetlinkConnection) -> None:
    nft.run(ruleset.full(BASE, Slots(), ()))
    netlink.commit(encode("knarr", [AddMap("endpoints-0")]))
    empty, slots = listed(), Slots()
    for old, new in itertools.pairwise(TABLES):
        netlink.commit(encode("knarr", ruleset.operations(slots, diff(old, new), lambda name, slot: 1000 + slot)))
    assert listed() == empty


def test_a_refused_transaction_changes_nothing_and_the_next_is_fine(nft: Nftables, netlink: NetlinkConnection) -> None:
    before = listed()
    with pytest.raises(NetlinkRefused):
        netlink.commit(encode("knarr", [AddChain("new"), DeleteElement("hairpins", ("10.0.0.1", "10.0.0.1"))]))
    assert listed() == before
    with pytest.raises(NetlinkRefused):
        netlink.commit(encode("knarr", [AddChain("a"), AddVerdict("a", "goto", "services"), AddVerdict("services", "goto", "a")]))
    assert listed() == before
    netlink.commit(encode("knarr", [AddChain("new")]))
    assert "new" in listed()


def test_counts_are_read_back(nft: Nftables, netlink: NetlinkConnection) -> None:
    slots = Slots()
    wanted = table(web=(1, 2, 3))
    ruleset.operations(slots, diff({}, wanted), uncounted)
    (standing,) = slots.standings.values()
    nft.run("add map ip knarr endpoints-0 { typeof numgen inc mod 2 : ip daddr . th dport; counter; }")
    nft.run("add element ip knarr endpoints-0 { 1 counter packets 7 bytes 0 : 10.244.0.1 . 80, 2 : 10.244.0.2 . 80 }")
    assert netlink.counts("knarr", standing.map) == {1: 7, 2: 0}
    assert (netlink.count("knarr", standing.map, 1), netlink.count("knarr", standing.map, 9)) == (7, 0)
    assert netlink.counts("knarr", "endpoints-99") == {}

"""What is seen from outside, of every datapath: external addresses, those of load balancers, and who holds them."""

from __future__ import annotations

import asyncio

import pytest

from services.proxy.datapath.port import Datapath
from services.proxy.routing.table import Change, diff
from tests.proxy.conformance import NODE_PORT, answers, assert_refused, change, node_state, route
from tests.proxy.laboratory import Laboratory, ip

pytestmark = pytest.mark.net

# In the node's network, in the cluster's pool, and anywhere else.
NEAR, POOLED, FAR = "192.168.50.200", "10.97.0.7", "203.0.113.7"
BOTH = {"pod0": 2, "pod1": 2}


def way_to(lab: Laboratory, *addresses: str) -> None:
    """Other machines and pods send these addresses' packets to the node."""
    with lab.outside.entered():
        ip(*(f"route replace {address}/32 via {lab.NODE_ADDRESS}" for address in addresses))


async def test_serves_external_addresses(lab: Laboratory, datapath: Datapath) -> None:
    way_to(lab, POOLED, FAR)
    await datapath.apply(change(None, route(0, 1, external_ips=(FAR,), load_balancer_ips=(POOLED,))))
    for address in (POOLED, FAR):
        for origin in (lab.outside, lab.pods[2], lab.node):
            assert await answers(lab, 4, address, origin=origin) == BOTH
    await datapath.apply(change(route(0, 1, external_ips=(FAR,), load_balancer_ips=(POOLED,)), route(0, 1, external_ips=(FAR,))))
    assert await answers(lab, 4, FAR, origin=lab.outside) == BOTH
    with pytest.raises(OSError):
        await lab.ask(POOLED, 80)


async def test_the_nodes_own_address_may_be_an_external_one(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0, 1, external_ips=(lab.NODE_ADDRESS,))))
    for origin in (lab.outside, lab.pods[2], lab.node):
        assert await answers(lab, 4, lab.NODE_ADDRESS, origin=origin) == BOTH


async def test_an_external_address_without_endpoints_refuses(lab: Laboratory, datapath: Datapath) -> None:
    way_to(lab, POOLED)
    await datapath.apply(change(None, route(load_balancer_ips=(POOLED,), held=True)))
    await assert_refused(lab, POOLED, 80, origin=lab.outside)


async def test_a_held_address_is_announced_and_left_to_the_next_holder(lab: Laboratory, datapath: Datapath) -> None:
    """A neighbour that knows the address at another machine learns of the new place."""
    with lab.outside.entered():
        ip(f"neigh replace {NEAR} lladdr 02:00:00:00:00:99 dev eth0 nud reachable")
    held, elsewhere = (route(0, 1, load_balancer_ips=(NEAR,), held=held) for held in (True, False))
    await datapath.apply(change(None, held))
    assert dict(datapath.held) == {NEAR: "uplink"}
    assert await answers(lab, 4, NEAR, origin=lab.outside) == BOTH
    assert await answers(lab, 4, NEAR) == BOTH
    await assert_refused(lab, NEAR, 81, origin=lab.outside)
    await datapath.apply(change(held, elsewhere))
    assert not datapath.held and f"{NEAR}/32" not in await asyncio.to_thread(node_state)
    await datapath.apply(change(elsewhere, held))
    assert await answers(lab, 4, NEAR, origin=lab.outside) == BOTH
    await datapath.apply(change(held, None))
    assert not datapath.held and NEAR not in await asyncio.to_thread(node_state)


async def test_a_held_address_that_was_taken_away_comes_back(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0, 1, load_balancer_ips=(NEAR,), held=True)))
    ip(f"addr del {NEAR}/32 dev uplink")
    await datapath.check()
    assert await answers(lab, 4, NEAR, origin=lab.outside) == BOTH


async def test_two_services_share_an_address_by_their_ports(lab: Laboratory, datapath: Datapath) -> None:
    one = route(0, load_balancer_ips=(NEAR,), held=True)
    other = route(1, service="other", cluster_ip="10.96.0.20", node_port=0, load_balancer_ips=(NEAR,), held=True, port=81)
    await datapath.apply(diff({}, {one.key: one, other.key: other}))
    assert await answers(lab, 2, NEAR, 80, origin=lab.outside) == {"pod0": 2}
    assert await answers(lab, 2, NEAR, 81, origin=lab.outside) == {"pod1": 2}
    await datapath.apply(change(one, None))
    assert await answers(lab, 2, NEAR, 81, origin=lab.outside) == {"pod1": 2}


async def test_only_the_source_ranges_get_in(lab: Laboratory, datapath: Datapath) -> None:
    way_to(lab, POOLED)
    ranges = ("192.168.50.2/32", "10.244.0.0/31")
    wanted = route(0, 1, load_balancer_ips=(POOLED,), source_ranges=ranges)
    await datapath.apply(change(None, wanted))
    assert await answers(lab, 4, POOLED, origin=lab.outside) == BOTH
    await assert_shut(lab, POOLED, lab.pods[2])
    assert await answers(lab, 4, lab.NODE_ADDRESS, NODE_PORT, origin=lab.pods[2]) == BOTH
    closed = route(0, 1, load_balancer_ips=(POOLED,), source_ranges=("198.51.100.0/24",))
    await datapath.apply(change(wanted, closed))
    await assert_shut(lab, POOLED, lab.outside)
    await datapath.apply(change(closed, route(0, 1, load_balancer_ips=(POOLED,))))
    assert await answers(lab, 4, POOLED, origin=lab.outside) == BOTH


async def assert_shut(lab: Laboratory, address: str, origin: object, port: int = 80) -> None:
    """Nothing comes back, or nothing but an end."""
    with pytest.raises((TimeoutError, ConnectionResetError)):
        async with asyncio.timeout(0.5):
            await lab.ask(address, port, origin=origin)  # type: ignore[arg-type]


async def test_nothing_of_external_addresses_is_left_behind(lab: Laboratory, datapath: Datapath) -> None:
    before = await asyncio.to_thread(node_state)
    await datapath.apply(Change(added=(route(0, external_ips=(FAR,), load_balancer_ips=(NEAR, POOLED), held=True),)))
    await datapath.close()
    left = await asyncio.to_thread(node_state)
    assert not any(address in left for address in (NEAR, POOLED, FAR)), (before, left)
    await datapath.start()

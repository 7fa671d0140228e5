"""Traffic policies, of every datapath: which endpoints an address leads to, and whose address they see."""

from __future__ import annotations

import asyncio

import pytest

from services.proxy.datapath.port import Datapath
from services.proxy.routing.table import LOCAL, Route
from tests.proxy.conformance import CLUSTER_IP, NODE_PORT, answers, assert_refused, change, pod_endpoints, route
from tests.proxy.laboratory import Laboratory, Namespace

pytestmark = pytest.mark.net

NEAR = "192.168.50.200"


def external_local(*pods: int, local: tuple[int, ...]) -> Route:
    return route(*pods, external_policy=LOCAL, local_endpoints=pod_endpoints(*local), load_balancer_ips=(NEAR,), held=True)


async def test_external_traffic_stays_on_the_node(lab: Laboratory, datapath: Datapath) -> None:
    """Pods and the node itself reach all endpoints by the same addresses."""
    await datapath.apply(change(None, external_local(0, 1, local=(1,))))
    for address, port in ((lab.NODE_ADDRESS, NODE_PORT), (NEAR, 80)):
        assert await answers(lab, 3, address, port, origin=lab.outside) == {"pod1": 3}
        for origin in (lab.node, lab.pods[2]):
            assert await answers(lab, 4, address, port, origin=origin) == {"pod0": 2, "pod1": 2}
    assert await answers(lab, 4, origin=lab.pods[2]) == {"pod0": 2, "pod1": 2}
    counters = await datapath.counters([external_local(0, 1, local=(1,)).key])
    assert sorted(counters.values()) == [10, 16]


async def test_external_traffic_without_an_endpoint_of_the_node_ends_there(lab: Laboratory, datapath: Datapath) -> None:
    before = external_local(0, 1, local=(1,))
    await datapath.apply(change(None, before))
    await datapath.apply(change(before, external_local(0, 1, local=())))
    for address, port in ((lab.NODE_ADDRESS, NODE_PORT), (NEAR, 80)):
        await assert_shut(lab, address, port, lab.outside)
        assert await answers(lab, 2, address, port, origin=lab.pods[2]) == {"pod0": 1, "pod1": 1}
    await datapath.apply(change(external_local(0, 1, local=()), external_local(local=())))
    await assert_refused(lab, lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside)
    await assert_refused(lab, NEAR, 80, origin=lab.outside)


async def test_internal_traffic_stays_on_the_node(lab: Laboratory, datapath: Datapath) -> None:
    wanted = route(0, 1, internal_policy=LOCAL, local_endpoints=pod_endpoints(1))
    await datapath.apply(change(None, wanted))
    for origin in (lab.node, lab.pods[2]):
        assert await answers(lab, 3, origin=origin) == {"pod1": 3}
    assert await answers(lab, 4, lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside) == {"pod0": 2, "pod1": 2}
    empty = route(0, 1, internal_policy=LOCAL)
    await datapath.apply(change(wanted, empty))
    await assert_shut(lab, CLUSTER_IP, 80, lab.pods[2])
    assert await answers(lab, 4, lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside) == {"pod0": 2, "pod1": 2}
    await datapath.apply(change(empty, route(0, 1)))
    assert await answers(lab, 4, origin=lab.pods[2]) == {"pod0": 2, "pod1": 2}


async def test_the_source_is_kept_or_the_datapath_says_that_it_is_not(lab: Laboratory, datapath: Datapath) -> None:
    wanted = external_local(0, 1, local=(1,))
    await datapath.apply(change(None, wanted))
    seen = {(await lab.ask(address, port, origin=lab.outside))[1] for address, port in ((lab.NODE_ADDRESS, NODE_PORT), (NEAR, 80))}
    if datapath.name == "userspace":
        assert any("client's address is not kept" in words for words in datapath.limits_of(wanted))
    else:
        assert seen == {"192.168.50.2"} and not datapath.limits_of(wanted)


async def assert_shut(lab: Laboratory, address: str, port: int, origin: Namespace) -> None:
    """Nothing comes back, or nothing but an end: a relay cannot be silent."""
    with pytest.raises((TimeoutError, ConnectionResetError, ConnectionRefusedError)):
        async with asyncio.timeout(0.3):
            await lab.ask(address, port, origin=origin)

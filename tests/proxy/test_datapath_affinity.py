"""sessionAffinity ClientIP, of every datapath: a client comes back to its endpoint, while that is there and its time is not over."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from services.proxy.datapath.port import Datapath
from services.proxy.routing.table import diff
from tests.proxy.conformance import NODE_PORT, answers, change, route
from tests.proxy.laboratory import Laboratory

pytestmark = pytest.mark.net


async def test_a_client_comes_back_and_others_get_their_turn(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0, 1, 2, affinity_seconds=600)))
    first: Counter[str] = Counter()
    for origin in (*lab.pods, lab.outside):
        address, port = (lab.NODE_ADDRESS, NODE_PORT) if origin is lab.outside else ("10.96.0.10", 80)
        found = await answers(lab, 3, address, port, origin=origin)
        assert len(found) == 1
        first.update(found.keys())
    assert sorted(first.values()) == [1, 1, 2]


async def test_only_the_clients_of_a_removed_endpoint_move(lab: Laboratory, datapath: Datapath) -> None:
    before = route(0, 1, 2, affinity_seconds=600)
    await datapath.apply(change(None, before))
    seen = [set(await answers(lab, 2, origin=origin)) for origin in lab.pods]
    assert len(set.union(*seen)) == 3
    gone = int(next(iter(seen[0]))[-1])
    left = route(*(pod for pod in range(3) if pod != gone), affinity_seconds=600)
    await datapath.apply(change(before, left))
    assert [set(await answers(lab, 2, origin=origin)) for origin in lab.pods[1:]] == seen[1:]
    (moved,) = await answers(lab, 3, origin=lab.pods[0])
    assert moved != f"pod{gone}"
    await datapath.apply(change(left, before))
    assert await answers(lab, 3, origin=lab.pods[0]) == {moved: 3}
    assert [set(await answers(lab, 2, origin=origin)) for origin in lab.pods[1:]] == seen[1:]


async def test_each_port_has_its_own_clients(lab: Laboratory, datapath: Datapath) -> None:
    one = route(0, 1, 2, affinity_seconds=600)
    other = route(0, 1, 2, service="other", cluster_ip="10.96.0.20", node_port=0)
    await datapath.apply(diff({}, {one.key: one, other.key: other}))
    assert len(await answers(lab, 3)) == 1
    assert await answers(lab, 6, "10.96.0.20") == {"pod0": 2, "pod1": 2, "pod2": 2}
    await datapath.apply(change(one, route(0, 1, 2)))
    assert len(await answers(lab, 3)) == 3


async def test_the_time_begins_anew_with_each_connection(lab: Laboratory, datapath: Datapath) -> None:
    """A second's affinity, kept up for more than a second, then left alone."""
    await datapath.apply(change(None, route(0, 1, 2, affinity_seconds=1)))
    loop = asyncio.get_running_loop()
    (own,) = await answers(lab, 1)
    until = loop.time() + 1.5
    while loop.time() < until:
        assert await answers(lab, 1) == {own: 1}
        await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        while own in await answers(lab, 1):  # noqa: ASYNC110
            await asyncio.sleep(1.3)

"""Node ranges: given once, never twice, back when the node is gone."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from services.controller.controllers.nodeipam.decide import ClusterRange, rivals
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import node
from tests.support.api import FaultyApi
from tests.support.virtual_time import virtual_time

LOST = status_error("ServiceUnavailable", "the connection was lost")


def node_with(name: str, pod_cidr: str = "") -> core.Node:
    made = node(name)
    if pod_cidr:
        made.spec.pod_cidr = pod_cidr
        made.spec.pod_cidrs.append(pod_cidr)
    return made


def ranges(api: FaultyApi) -> dict[str, str]:
    return {found.metadata.name: found.spec.pod_cidr for found in api.all(core.Node)}


def all_have_one(c: Cluster) -> bool:
    return all(ranges(c.api).values())


def test_parts_are_given_in_turn_and_those_taken_are_left_out() -> None:
    whole = ClusterRange(IPv4Network("10.244.0.0/16"), 24)
    assert whole.free([]) == IPv4Network("10.244.0.0/24")
    assert whole.free([IPv4Network("10.244.0.0/24"), IPv4Network("10.244.1.128/25")]) == IPv4Network("10.244.2.0/24")
    assert whole.free([], after=IPv4Network("10.244.7.0/24")) == IPv4Network("10.244.8.0/24")
    assert whole.free([], after=IPv4Network("10.244.255.0/24")) == IPv4Network("10.244.0.0/24")
    assert whole.free([IPv4Network("10.0.0.0/8")]) is None
    with pytest.raises(ValueError, match="cannot be cut"):
        ClusterRange(IPv4Network("10.244.0.0/25"), 24)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 40)), max_size=80),
    st.lists(st.integers(0, 63), max_size=5),
)
def test_ranges_never_overlap_whatever_comes_and_goes(steps: list[tuple[str, int]], foreign: list[int]) -> None:
    whole = ClusterRange(IPv4Network("10.1.0.0/20"), 25)
    held: dict[object, IPv4Network] = {("foreign", part): IPv4Network((0x0A010000 + part * 64, 26)) for part in foreign}
    last: IPv4Network | None = None
    for step, who in steps:
        if step == "remove":
            held.pop(who, None)
        elif who not in held:
            found = whole.free(held.values(), last)
            blocked = {int(network.network_address) >> 7 for network in held.values()}
            assert (found is None) == (len(blocked) == 32)
            if found is not None:
                assert found.subnet_of(whole.network) and found.prefixlen == 25
                assert not any(found.overlaps(network) for network in held.values())
                held[who] = last = found


def test_overlapping_ranges_of_others_are_noticed() -> None:
    one, two, three = node_with("a", "10.1.0.0/24"), node_with("b", "10.1.0.128/25"), node_with("c", "10.1.1.0/24")
    assert rivals(one, [one, two, three]) == ["b"]
    assert rivals(three, [one, two, three]) == []


@virtual_time
async def test_each_node_gets_a_range_once_and_those_that_bring_one_keep_it() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(node_with("own", "10.244.0.0/24"))
        c.api.seed(*(node_with(f"node-{number}") for number in range(5)))
        await c.until(lambda: all_have_one(c))
        found = ranges(c.api)
        assert found["own"] == "10.244.0.0/24"
        assert sorted(found.values()) == [f"10.244.{part}.0/24" for part in range(6)]
        assert all(list(made.spec.pod_cidrs) == [made.spec.pod_cidr] for made in c.api.all(core.Node))


@virtual_time
async def test_a_lost_answer_and_conflicts_give_no_second_range() -> None:
    async with cluster(kubelet=False) as c:
        c.api.fail_next(LOST, verb="update", message_type=core.Node, after=True)
        c.api.fail_next(status_error("Conflict", "changed meanwhile"), verb="update", message_type=core.Node, times=3)
        c.api.seed(*(node_with(f"node-{number}") for number in range(8)))
        await c.until(lambda: all_have_one(c))
        assert len(set(ranges(c.api).values())) == 8


@virtual_time
async def test_a_cache_that_lags_behind_misleads_nobody() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(node_with("first"))
        await c.until(lambda: all_have_one(c))
        # Written while no watch tells of it.
        c.api.break_watches()
        c.api.seed(node_with("quiet", "10.244.1.0/24"), node_with("second"))
        await c.until(lambda: all_have_one(c))
        assert len(set(ranges(c.api).values())) == 3


@virtual_time
async def test_a_new_manager_knows_what_was_given_and_a_freed_range_rests() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(node_with("node-0"), node_with("node-1"))
        await c.until(lambda: all_have_one(c))
        await c.client.delete(core.Node, "node-1")
        c.api.seed(node_with("node-2"))
        await c.until(lambda: all_have_one(c))
        assert ranges(c.api) == {"node-0": "10.244.0.0/24", "node-2": "10.244.2.0/24"}
        before = c.api.all(core.Node)
    async with cluster(kubelet=False) as c:
        c.api.seed(*before, node_with("node-3"))
        await c.until(lambda: all_have_one(c))
        assert ranges(c.api)["node-3"] == "10.244.3.0/24"


@virtual_time
async def test_a_full_range_is_told_once_and_served_when_a_node_leaves() -> None:
    async with cluster(kubelet=False, cluster_cidr="10.9.0.0/23", node_mask_size=24) as c:
        c.api.seed(node_with("a"), node_with("b"))
        await c.until(lambda: all_have_one(c))
        c.api.seed(node_with("late"))
        await c.until(lambda: c.events("CIDRNotAvailable"))
        await asyncio.sleep(30)
        assert len(c.events("CIDRNotAvailable")) == 1 and "10.9.0.0/23" in c.events("CIDRNotAvailable")[0]
        freed = ranges(c.api)["a"]
        await c.client.delete(core.Node, "a")
        await c.until(lambda: ranges(c.api)["late"] == freed)


@virtual_time
async def test_without_a_cluster_range_it_gives_none() -> None:
    async with cluster(kubelet=False, cluster_cidr="") as c:
        c.api.seed(node_with("a"))
        await asyncio.sleep(10)
        assert ranges(c.api) == {"a": ""}


@virtual_time
async def test_nodes_that_bring_overlapping_ranges_are_told() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(node_with("a", "10.244.0.0/24"), node_with("b", "10.244.0.0/25"))
        await c.until(lambda: c.events("CIDROverlap"))
        assert "overlaps that of" in c.events("CIDROverlap")[0]


def wishing(name: str, wish: str) -> core.Node:
    made = node(name)
    made.metadata.annotations["knarr.io/pod-cidr"] = wish
    return made


@pytest.mark.parametrize(
    ("wish", "given"),
    [
        ("10.244.7.0/24", "10.244.7.0/24"),
        ("10.244.0.0/24", "10.244.1.0/24"),
        ("10.244.7.0/25", "10.244.1.0/24"),
        ("10.245.7.0/24", "10.244.1.0/24"),
        ("10.244.7.1/24", "10.244.1.0/24"),
        ("nonsense", "10.244.1.0/24"),
        ("", "10.244.1.0/24"),
    ],
    ids=["free", "taken", "no-part", "elsewhere", "no-network", "no-range", "none"],
)
@virtual_time
async def test_a_part_that_a_node_wishes_to_have_again_is_given_if_it_is_free(wish: str, given: str) -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(node_with("first", "10.244.0.0/24"), wishing("anew", wish))
        await c.until(lambda: all_have_one(c))
        assert ranges(c.api)["anew"] == given


@virtual_time
async def test_two_that_wish_the_same_do_not_both_get_it() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(wishing("one", "10.244.7.0/24"), wishing("two", "10.244.7.0/24"))
        await c.until(lambda: all_have_one(c))
        assert sorted(ranges(c.api).values()) == ["10.244.7.0/24", "10.244.8.0/24"]


@virtual_time
async def test_many_that_come_at_once_are_given_a_range_each() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(*(wishing(f"wishing-{number}", f"10.244.{100 + number // 2}.0/24") for number in range(20)))
        c.api.seed(*(node_with(f"plain-{number}") for number in range(20)))
        await c.until(lambda: all_have_one(c))
        # Of two that wish for the same, and of one that wishes for what was the next, one gets it.
        assert len(set(ranges(c.api).values())) == 40

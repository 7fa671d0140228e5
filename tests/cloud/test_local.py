"""Provider local: addresses from a pool, one holder each, moved and given back."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from services.cloud.errors import Refused
from services.cloud.providers.local.decide import ADDRESS_ANNOTATION, NODE_ANNOTATION, choose_address, choose_node
from services.cloud.providers.local.pool import Pool
from services.cloud.providers.local.settings import LocalSettings
from tests.cloud.cluster import NAMESPACE, Cluster, cluster, node, service
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

POOL = LocalSettings(pool=("10.97.0.1-10.97.0.3",))


def holder(c: Cluster, name: str = "web") -> str:
    found = c.service(name)
    return "" if found is None else str(found.metadata.annotations.get(NODE_ANNOTATION, ""))


def slice_of(name: str, *nodes: str) -> discovery.EndpointSlice:
    made = discovery.EndpointSlice(address_type="IPv4")
    made.metadata.name, made.metadata.namespace = f"{name}-1", NAMESPACE
    made.metadata.labels["kubernetes.io/service-name"] = name
    for index, where in enumerate(nodes):
        endpoint = made.endpoints.add(addresses=[f"10.244.0.{index + 2}"], node_name=where)
        endpoint.conditions.ready = True
    return made


def test_a_pool_is_written_as_networks_ranges_and_addresses() -> None:
    pool = Pool.parse(("10.97.0.0/30", "10.97.1.9", "10.97.2.254-10.97.3.1", "10.97.4.0/31"))
    texts = ["10.97.0.1", "10.97.0.2", "10.97.1.9", "10.97.2.254", "10.97.2.255", "10.97.3.0", "10.97.3.1", "10.97.4.0", "10.97.4.1"]
    assert [str(address) for address in pool] == texts and len(pool) == len(texts)
    assert IPv4Address("10.97.0.0") not in pool and IPv4Address("10.97.2.255") in pool


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ((), "at least one range"),
        (("10.97.0.0/24", "10.97.0.9"), "10.97.0.9 and 10.97.0.0/24 overlap"),
        (("10.97.0.9-10.97.0.1",), "ends before it begins"),
        (("10.97.0.1/24",), "has host bits set"),
        (("fd00::/64",), "no range of IPv4 addresses"),
        (("10.97.0.0-10.97.0.300",), "no range of IPv4 addresses"),
    ],
)
def test_a_pool_that_cannot_be_is_named(texts: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=r"^pool: ") as caught:
        LocalSettings(pool=texts)
    assert words in str(caught.value)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ask", "give back"]), st.integers(0, 6), st.sampled_from(["", "10.97.0.2"])), max_size=60))
def test_no_address_is_ever_two_services(steps: list[tuple[str, int, str]]) -> None:
    pool = Pool.parse(POOL.pool)
    held: dict[int, IPv4Address] = {}
    resting: list[IPv4Address] = []
    for step, who, wanted in steps:
        if step == "give back":
            if who in held:
                resting.append(held.pop(who))
            continue
        asking = service(f"s{who}", annotations={ADDRESS_ANNOTATION: wanted} if wanted else {})
        taken = {address: service(f"s{other}") for other, address in held.items() if other != who}
        try:
            found = choose_address(asking, held.get(who), taken, pool, resting)
        except Refused:
            assert len(taken) == 3 or IPv4Address("10.97.0.2") in taken
            continue
        assert found in pool and found not in taken and (not wanted or str(found) == wanted)
        assert wanted or held.get(who, found) == found, "an address stays its Service's"
        held[who] = found


def test_the_node_with_the_fewest_addresses_answers_and_stays() -> None:
    assert choose_node(["b", "a"], "", {"a": 1, "b": 1}, None) == "a"
    assert choose_node(["a", "b"], "", {"a": 2, "b": 1}, None) == "b"
    assert choose_node(["a", "b"], "a", {"a": 9}, None) == "a"
    assert choose_node(["a", "b"], "gone", {"a": 1}, None) == "b"
    assert choose_node([], "a", {}, None) == "a"
    assert choose_node(["a", "b"], "a", {}, {"b"}) == "b"
    assert choose_node(["a", "b"], "a", {}, {"c"}) == "a"
    assert choose_node(["a", "b"], "a", {}, set()) == "a"


@virtual_time
async def test_services_get_addresses_and_their_holders_are_spread() -> None:
    async with cluster(provider_settings=POOL) as c:
        c.api.seed(node("node-1"), node("node-2"))
        for name in ("a", "b"):
            await c.client.create(service(name))
        await c.until(lambda: c.ingress("a") and c.ingress("b"))
        assert {*c.ingress("a"), *c.ingress("b")} == {"10.97.0.1", "10.97.0.2"}
        assert {holder(c, "a"), holder(c, "b")} == {"node-1", "node-2"}
        assert c.service("a").status.load_balancer.ingress[0].ip_mode == "VIP"


@virtual_time
async def test_an_address_moves_when_its_node_dies_and_stays_when_the_node_is_back() -> None:
    async with cluster(provider_settings=POOL) as c:
        c.api.seed(node("node-1"), node("node-2"))
        await c.client.create(service())
        await c.until(c.ingress)
        first, address = holder(c), c.ingress()
        other = ({"node-1", "node-2"} - {first}).pop()
        await c.set_ready(first, "Unknown")
        await c.until(lambda: holder(c) == other, seconds=2)
        await c.set_ready(first, "True")
        await asyncio.sleep(10)
        assert holder(c) == other and c.ingress() == address


@virtual_time
async def test_traffic_that_stays_on_a_node_enters_where_an_endpoint_is() -> None:
    async with cluster(provider_settings=POOL) as c:
        c.api.seed(node("node-1"), node("node-2"), slice_of("web", "node-2"))
        made = service()
        made.spec.external_traffic_policy = "Local"
        await c.client.create(made)
        await c.until(lambda: holder(c) == "node-2")

        def move(found: discovery.EndpointSlice) -> None:
            found.endpoints[0].node_name = "node-1"

        piece = await c.client.get(discovery.EndpointSlice, "web-1", NAMESPACE)
        move(piece)
        await c.client.update(piece)
        await c.until(lambda: holder(c) == "node-1")


@virtual_time
async def test_a_full_pool_is_told_and_served_as_soon_as_an_address_is_free() -> None:
    async with cluster(provider_settings=POOL) as c:
        for name in ("a", "b", "c"):
            await c.client.create(service(name))
        await c.until(lambda: all(c.ingress(name) for name in ("a", "b", "c")))
        freed = c.ingress("b")
        await c.client.create(service("late"))
        await c.until(lambda: c.events("SyncLoadBalancerFailed"))
        assert "every address of the pool 10.97.0.1-10.97.0.3 is given (3 in all)" in c.events("SyncLoadBalancerFailed")[0]
        assert "local.pool" in c.events("SyncLoadBalancerFailed")[0]
        await asyncio.sleep(3600)
        await c.client.delete(core.Service, "b", NAMESPACE)
        await c.until(lambda: c.ingress("late") == freed, seconds=1)


@pytest.mark.parametrize("way", ["annotation", "field"])
def test_a_wished_address_is_given_refused_while_taken_and_given_when_free(way: str) -> None:
    def wishing(name: str, address: str) -> core.Service:
        made = service(name)
        if way == "annotation":
            made.metadata.annotations[ADDRESS_ANNOTATION] = address
        else:
            made.spec.load_balancer_ip = address
        return made

    @virtual_time
    async def scenario() -> None:
        async with cluster(provider_settings=POOL) as c:
            await c.client.create(wishing("first", "10.97.0.3"))
            await c.until(lambda: c.ingress("first") == ["10.97.0.3"])
            await c.client.create(wishing("second", "10.97.0.3"))
            await c.client.create(wishing("outside", "10.98.0.1"))
            await c.until(lambda: len(c.events("SyncLoadBalancerFailed")) == 2)
            taken, outside = sorted(c.events("SyncLoadBalancerFailed"), key=lambda text: "10.98" in text)
            assert "10.97.0.3 is taken by the Service default/first" in taken
            assert "10.98.0.1 is not in the pool 10.97.0.1-10.97.0.3" in outside
            assert not c.ingress("second") and not c.ingress("outside")
            await asyncio.sleep(600)
            await c.edit(core.Service, "first", lambda found: setattr(found.spec, "type", "ClusterIP"))
            await c.until(lambda: c.ingress("second") == ["10.97.0.3"], seconds=1)

    scenario()


@virtual_time
async def test_two_wishes_that_differ_and_no_address_at_all_are_refused() -> None:
    async with cluster(provider_settings=POOL) as c:
        two = service("two", annotations={ADDRESS_ANNOTATION: "10.97.0.1"})
        two.spec.load_balancer_ip = "10.97.0.2"
        await c.client.create(two)
        await c.client.create(service("odd", annotations={ADDRESS_ANNOTATION: "first"}))
        await c.until(lambda: len(c.events("SyncLoadBalancerFailed")) == 2)
        assert any("ask for different addresses" in text for text in c.events("SyncLoadBalancerFailed"))
        assert any("'first' is no IPv4 address" in text for text in c.events("SyncLoadBalancerFailed"))


@virtual_time
async def test_a_new_leader_keeps_every_address_and_a_freed_one_rests() -> None:
    api = FaultyApi(VirtualClock())
    async with cluster(api=api, provider_settings=POOL) as c:
        for name in ("a", "b"):
            await c.client.create(service(name))
        await c.until(lambda: c.ingress("a") and c.ingress("b"))
        before = {name: c.ingress(name) for name in ("a", "b")}
        await c.client.delete(core.Service, "a", NAMESPACE)
        await c.until(lambda: c.find_service("a") is None)
        await c.client.create(service("c"))
        await c.until(lambda: c.ingress("c"))
        assert c.ingress("c") == ["10.97.0.3"], "the freed one rests"
    async with cluster(api=api, provider_settings=POOL) as c:
        await c.client.create(service("d"))
        await c.until(lambda: c.ingress("d"))
        assert c.ingress("b") == before["b"] and c.ingress("c") == ["10.97.0.3"] and c.ingress("d") == before["a"]


@virtual_time
async def test_another_pool_gives_other_addresses() -> None:
    api = FaultyApi(VirtualClock())
    async with cluster(api=api, provider_settings=POOL) as c:
        await c.client.create(service())
        await c.until(c.ingress)
    async with cluster(api=api, provider_settings=LocalSettings(pool=("10.97.9.1",))) as c:
        await c.until(lambda: c.ingress() == ["10.97.9.1"])


@virtual_time
async def test_an_address_that_two_have_stays_with_the_elder() -> None:
    async with cluster(provider_settings=POOL) as c:
        await c.client.create(service("elder"))
        await c.until(lambda: c.ingress("elder"))
        await asyncio.sleep(2)
        await c.client.create(service("younger"))
        await c.until(lambda: c.ingress("younger") == ["10.97.0.2"])
        # A late write of a predecessor.
        young = c.service("younger")
        young.status.load_balancer.ingress[0].ip = "10.97.0.1"
        await c.client.update(young, subresource="status")
        await c.until(lambda: c.ingress("younger") == ["10.97.0.2"])
        assert c.ingress("elder") == ["10.97.0.1"]


@virtual_time
async def test_an_address_that_two_have_when_the_manager_begins_stays_with_the_elder() -> None:
    api = FaultyApi(VirtualClock())
    for name, seconds in (("younger", 20), ("elder", 10)):
        made = service(name)
        made.metadata.creation_timestamp.seconds = seconds
        made.status.load_balancer.ingress.add(ip="10.97.0.1", ip_mode="VIP")
        api.seed(made)
    async with cluster(api=api, provider_settings=POOL) as c:
        await c.until(lambda: c.ingress("younger") == ["10.97.0.2"])
        await asyncio.sleep(5)
        assert c.ingress("elder") == ["10.97.0.1"]


@virtual_time
async def test_every_service_of_many_gets_an_address_of_its_own() -> None:
    async with cluster(provider_settings=LocalSettings(pool=("10.97.0.0/24",))) as c:
        c.api.seed(node("node-1"), node("node-2"), node("node-3"))
        names = [f"web-{number}" for number in range(254)]
        for name in names:
            await c.client.create(service(name))
        await c.until(lambda: all(c.ingress(name) for name in names[-3:]) and all(c.ingress(name) for name in names))
        assert len({c.ingress(name)[0] for name in names}) == 254
        counts = [sum(holder(c, name) == f"node-{number}" for name in names) for number in (1, 2, 3)]
        assert max(counts) - min(counts) <= 1

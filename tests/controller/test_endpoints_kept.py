"""What is told about endpoints beyond addresses: zones, hints, trigger times; and how often it is written."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.objects.conditions import set_condition
from knarr.objects.keys import Key
from services.controller.controllers.endpoints.decide import decide as decide_endpoints
from services.controller.controllers.endpointslice.decide import MANAGER, decide
from services.controller.endpoints.backends import backends
from services.controller.endpoints.slices import Plan, SliceWriter
from services.controller.endpoints.trigger_time import TriggerTimes
from services.controller.pace import Pace
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import node, pod, service
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
KEY = Key("default", "web")


def running(number: int, on: str = "node-1", *, ready: bool = True) -> core.Pod:
    return pod(f"web-{number}", node=on, phase="Running", ready=ready, ip=f"10.244.{number // 250}.{number % 250 + 1}")


def zoned(name: str, zone: str) -> core.Node:
    made = node(name)
    if zone:
        made.metadata.labels["topology.kubernetes.io/zone"] = zone
    return made


def slices_of(c: Cluster) -> list[discovery.EndpointSlice]:
    return c.api.all(discovery.EndpointSlice)


def told(c: Cluster) -> dict[str, discovery.Endpoint]:
    return {endpoint.target_ref.name: endpoint for piece in slices_of(c) for endpoint in piece.endpoints}


def writes_of(c: Cluster, kind: type) -> int:
    return sum(write.message_type is kind for write in c.api.writes)


def test_an_endpoint_names_the_zone_of_its_node_and_hints_at_it_when_asked() -> None:
    target, nodes = service(), {"a": zoned("a", "one"), "b": zoned("b", "")}
    facts = backends(target, [running(1, "a"), running(2, "b"), running(3, "a", ready=False)], nodes.get)
    (made,) = decide(target, facts, []).create
    assert [(endpoint.HasField("zone"), endpoint.zone, len(endpoint.hints.for_zones)) for endpoint in made.endpoints] == [
        (True, "one", 0),
        (False, "", 0),
        (True, "one", 0),
    ]
    for distribution, hinted in (("PreferClose", [[], [], []]), ("PreferSameZone", [[], [], []]), ("PreferSameNode", [["a"], ["b"], []])):
        target.spec.traffic_distribution = distribution
        (made,) = decide(target, facts, []).create
        assert [[zone.name for zone in endpoint.hints.for_zones] for endpoint in made.endpoints] == [["one"], [], []]
        assert [[node.name for node in endpoint.hints.for_nodes] for endpoint in made.endpoints] == hinted


def test_the_pods_of_a_node_that_is_gone_are_left_out() -> None:
    target = service()
    assert backends(target, [running(1, "gone")], lambda name: None) == []
    target.spec.publish_not_ready_addresses = True
    assert len(backends(target, [running(1, "gone")], lambda name: None)) == 1


def test_the_host_name_is_told_to_the_service_that_is_the_subdomain() -> None:
    target, named = service(), running(1)
    named.spec.hostname, named.spec.subdomain = "first", "web"
    (made,) = decide(target, backends(target, [named, running(2)]), []).create
    assert [(endpoint.HasField("hostname"), endpoint.hostname) for endpoint in made.endpoints] == [(True, "first"), (False, "")]
    addresses = decide_endpoints(target, backends(target, [named]), None).subsets[0].addresses
    assert [address.hostname for address in addresses] == ["first"]


def test_a_headless_service_may_have_no_ports() -> None:
    target = service()
    target.spec.cluster_ip = "None"
    del target.spec.ports[:]
    (made,) = decide(target, backends(target, [running(1)]), []).create
    assert (len(made.endpoints), list(made.ports)) == (1, [])
    (subset,) = decide_endpoints(target, backends(target, [running(1)]), None).subsets
    assert (len(subset.addresses), list(subset.ports)) == (1, [])


def test_a_hundred_endpoints_a_slice_and_one_change_rewrites_one_slice() -> None:
    target, pods = service(), [running(number) for number in range(1000)]
    made = list(decide(target, backends(target, pods), []).create)
    assert [len(piece.endpoints) for piece in made] == [100] * 10
    assert decide(target, backends(target, reversed(pods)), made).empty
    pods[500] = running(500, ready=False)
    plan = decide(target, backends(target, pods), made)
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)


def test_endpoints_hold_a_thousand_addresses_and_say_that_there_are_more() -> None:
    target, pods = service(), [running(number, ready=number >= 100) for number in range(1100)]
    made = decide_endpoints(target, backends(target, pods), None)
    assert made.metadata.annotations["endpoints.kubernetes.io/over-capacity"] == "truncated"
    assert sum(len(subset.addresses) for subset in made.subsets) == 1000
    fewer = decide_endpoints(target, backends(target, pods[:1000]), made)
    assert "endpoints.kubernetes.io/over-capacity" not in fewer.metadata.annotations


def test_the_trigger_is_the_earliest_change_since_the_last_write() -> None:
    times, target, pods = TriggerTimes(), service(), [running(1), running(2)]
    target.metadata.creation_timestamp.seconds = 100
    for number, found in enumerate(pods):
        found.status.conditions[0].last_transition_time.seconds = 200 + number
    trigger, seen = times.changed(KEY, target, backends(target, pods))
    assert trigger == "1970-01-01T00:01:40Z"
    assert times.changed(KEY, target, backends(target, pods))[0] == trigger, "nothing was written yet"
    times.wrote(KEY, seen)
    assert times.changed(KEY, target, backends(target, pods))[0] == ""
    pods[0].status.conditions[0].last_transition_time.seconds = 300
    pods[1].status.conditions[0].last_transition_time.seconds = 310
    assert times.changed(KEY, target, backends(target, pods))[0] == "1970-01-01T00:05:00Z"


def test_only_what_is_written_says_why() -> None:
    target, pods = service(), [running(number) for number in range(150)]
    made = list(decide(target, backends(target, pods), [], trigger="2026-01-01T00:00:00Z").create)
    assert {piece.metadata.annotations[TRIGGER] for piece in made} == {"2026-01-01T00:00:00Z"}
    assert decide(target, backends(target, pods), made, trigger="2026-01-02T00:00:00Z") == Plan([], [], [])
    pods[0] = running(0, ready=False)
    (changed,) = decide(target, backends(target, pods), made).update
    assert TRIGGER not in changed.metadata.annotations


@virtual_time
async def test_what_flaps_is_written_in_batches_and_ends_right() -> None:
    pace = Pace(burst=3, per_second=10)
    for _ in range(3):
        assert pace.wait_seconds(KEY) == 0
        pace.did(KEY)
    assert 0 < pace.wait_seconds(KEY) <= 0.1
    await asyncio.sleep(0.11)
    assert pace.wait_seconds(KEY) == 0
    pace.forget(KEY)
    assert pace.wait_seconds(KEY) == 0


@virtual_time
async def test_a_pod_that_flaps_fifty_times_a_second_costs_few_writes() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(node(), running(1), running(2))
        await c.client.create(service())
        await c.until(lambda: len(told(c)) == 2)
        before = writes_of(c, discovery.EndpointSlice), writes_of(c, core.Endpoints)

        def turn(found: core.Pod) -> None:
            up = found.status.conditions[0].status == "True"
            set_condition(found.status, "Ready", "False" if up else "True", now=c.kubelet.clock.now())

        for _ in range(200):
            await c.edit(core.Pod, "web-1", turn, subresource="status")
            await asyncio.sleep(0.02)
        slices, endpoints = writes_of(c, discovery.EndpointSlice) - before[0], writes_of(c, core.Endpoints) - before[1]
        assert 10 < slices <= 10 + 10 * 4 + 2 and 10 < endpoints <= 10 + 10 * 4 + 2
        await c.until(lambda: told(c)["web-1"].conditions.ready, 0.3)


@virtual_time
async def test_nothing_is_written_when_nothing_is_to_be_told() -> None:
    balanced = service()
    balanced.spec.type = "LoadBalancer"
    async with cluster(kubelet=False) as c:
        c.api.seed(node(), running(1))
        await c.client.create(balanced)
        await c.until(lambda: told(c) and c.api.all(core.Endpoints))
        await asyncio.sleep(1)
        before = len(c.api.writes)
        await c.edit(core.Pod, "web-1", lambda p: p.metadata.annotations.update({"note": "x"}))
        await c.edit(core.Service, "web", lambda s: s.metadata.annotations.update({"note": "x"}))
        await c.edit(core.Service, "web", lambda s: s.status.load_balancer.ingress.add(ip="192.0.2.1"), subresource="status")
        await asyncio.sleep(1)
        assert len(c.api.writes) == before + 3, "only those three"


@virtual_time
async def test_a_node_that_comes_or_gets_its_zone_is_noticed() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(running(1, "late"))
        await c.client.create(service())
        await c.until(lambda: slices_of(c))
        assert told(c) == {}
        await c.client.create(zoned("late", ""))
        await c.until(lambda: "web-1" in told(c), 0.05)
        await c.edit(core.Node, "late", lambda n: n.metadata.labels.update({"topology.kubernetes.io/zone": "far"}), namespace="")
        await c.until(lambda: told(c)["web-1"].zone == "far", 0.05)


@virtual_time
async def test_what_it_wrote_itself_gives_no_new_work() -> None:
    async with cluster(kubelet=False) as c:
        c.api.seed(node(), running(1), running(2))
        await c.client.create(service())
        await c.until(lambda: len(told(c)) == 2)
        await asyncio.sleep(1)
        before = {name: c.manager.queues[name].status().syncs for name in ("endpointslice", "endpoints")}

        def fall(found: core.Pod) -> None:
            set_condition(found.status, "Ready", "False", now=c.kubelet.clock.now())

        await c.edit(core.Pod, "web-1", fall, subresource="status")
        await c.until(lambda: not told(c)["web-1"].conditions.ready)
        await asyncio.sleep(1)
        assert {name: c.manager.queues[name].status().syncs - syncs for name, syncs in before.items()} == {
            "endpointslice": 1,
            "endpoints": 1,
        }
        await c.edit(discovery.EndpointSlice, slices_of(c)[0].metadata.name, lambda found: found.endpoints.pop())
        await c.until(lambda: len(told(c)) == 2, 0.05)


@virtual_time
async def test_what_did_not_wait_leaves_no_debt() -> None:
    pace = Pace(burst=2, per_second=10)
    for _ in range(50):
        pace.did(KEY)
    assert pace.wait_seconds(KEY) == pytest.approx(0.1)
    pace.forget(KEY)
    assert pace.wait_seconds(KEY) == 0


@virtual_time
async def test_nothing_is_kept_of_a_slice_that_goes_before_it_is_seen_as_it_was_written() -> None:
    """As when a list after a broken watch shows it no more."""
    api = FaultyApi(VirtualClock())
    writer = SliceWriter(api.client(), MANAGER)
    (made,) = decide(service(), [], []).create
    made = await api.client().create(made)
    await writer.write(KEY, Plan(update=[made]))
    assert writer.unseen == 1
    assert writer.saw(made, None) == {KEY}
    assert writer.unseen == 0

"""Nodes: told about their machines, removed with them, led to by routes."""

from __future__ import annotations

import asyncio

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.conditions import get_condition, is_true
from knarr.objects.labels import REGION, ZONE
from knarr.objects.tolerations import UNINITIALIZED
from services.cloud.controllers.node.decide import INSTANCE_TYPE
from services.cloud.controllers.nodelifecycle.decide import SHUTDOWN
from services.cloud.controllers.route.decide import plan
from services.cloud.errors import Unavailable
from tests.cloud.cluster import FakeProvider, cluster, node
from tests.support.virtual_time import virtual_time


def machine(state: cloud.InstanceState = cloud.INSTANCE_STATE_RUNNING, address: str = "203.0.113.7") -> cloud.Instance:
    found = cloud.Instance(state=state, provider_id="fake://i-1", instance_type="m.large", zone="eu-1a", region="eu-1")
    found.labels["fake.example/rack"] = "7"
    found.addresses.add(type="InternalIP", address="192.0.2.9")
    found.addresses.add(type="ExternalIP", address=address)
    return found


@virtual_time
async def test_a_new_node_learns_of_its_machine_before_it_takes_pods() -> None:
    provider = FakeProvider(instances={"node-1": machine()})
    async with cluster(provider) as c:
        c.api.seed(node(taint=UNINITIALIZED))
        await c.until(lambda: not c.node("node-1").spec.taints)
        found = c.node("node-1")
        assert found.spec.provider_id == "fake://i-1"
        assert dict(found.metadata.labels) == {ZONE: "eu-1a", REGION: "eu-1", INSTANCE_TYPE: "m.large", "fake.example/rack": "7"}
        assert [(one.type, one.address) for one in found.status.addresses] == [
            ("InternalIP", "192.0.2.9"),
            ("ExternalIP", "203.0.113.7"),
            ("Hostname", "node-1"),
        ]
        # Its address changes: seen within the period of the refresh.
        provider.instances["node-1"] = machine(address="203.0.113.8")
        await c.until(lambda: c.node("node-1").status.addresses[1].address == "203.0.113.8", seconds=400)


@virtual_time
async def test_a_machine_that_is_not_known_yet_is_asked_for_again_and_the_node_stays() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        c.api.seed(node(taint=UNINITIALIZED, ready="False"))
        await c.until(lambda: provider.count("instance") > 3)
        assert c.events("InitializationFailed") == ["Error initializing node node-1: the provider knows no such machine"]
        provider.instance_error = Unavailable("away")
        await c.until(lambda: len(c.events("InitializationFailed")) == 2)
        provider.instance_error = None
        provider.instances["node-1"] = machine()
        c.api.fail_next(status_error("Conflict", "changed"), verb="update", message_type=core.Node)
        await c.until(lambda: not c.node("node-1").spec.taints, seconds=400)


@virtual_time
async def test_a_provider_id_that_a_node_has_stays() -> None:
    provider = FakeProvider(instances={"node-1": machine()})
    async with cluster(provider) as c:
        c.api.seed(node(taint=UNINITIALIZED, provider_id="fake://i-brought"))
        await c.until(lambda: not c.node("node-1").spec.taints)
        assert c.node("node-1").spec.provider_id == "fake://i-brought"


@virtual_time
async def test_nodes_without_a_provider_and_those_of_another_one_are_left_alone() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        c.api.seed(node("bare", "Unknown"), node("foreign", "Unknown", provider_id="other://i-9"))
        await asyncio.sleep(3600)
        assert {found.metadata.name for found in c.api.all(core.Node)} == {"bare", "foreign"}
        assert provider.count("instance") == 0


@virtual_time
async def test_a_node_goes_with_its_machine_but_only_when_it_is_not_ready() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        c.api.seed(node("node-1", provider_id="fake://i-1"))
        await asyncio.sleep(600)
        assert c.find_node("node-1") is not None, "a ready node lives, whatever the provider says"
        provider.instances["node-1"] = machine()
        await c.set_ready("node-1", "Unknown")
        await asyncio.sleep(60)
        assert c.find_node("node-1") is not None
        del provider.instances["node-1"]
        provider.instance_error = Unavailable("away")
        await asyncio.sleep(60)
        assert c.find_node("node-1") is not None, "a provider that does not answer does not say that it is gone"
        provider.instance_error = None
        await c.until(lambda: c.find_node("node-1") is None, seconds=120)
        await c.until(lambda: c.events("DeletingNode"))


@virtual_time
async def test_a_machine_switched_off_is_tainted_until_it_is_back() -> None:
    provider = FakeProvider(instances={"node-1": machine(cloud.INSTANCE_STATE_SHUT_DOWN)})
    async with cluster(provider) as c:
        c.api.seed(node("node-1", "Unknown", provider_id="fake://i-1"))
        await c.until(lambda: [taint.key for taint in c.node("node-1").spec.taints] == [SHUTDOWN])
        provider.instances["node-1"] = machine()
        await c.until(lambda: not c.node("node-1").spec.taints)
        provider.instances["node-1"] = machine(cloud.INSTANCE_STATE_SHUT_DOWN)
        await c.until(lambda: c.node("node-1").spec.taints)
        await c.set_ready("node-1", "True")
        await c.until(lambda: not c.node("node-1").spec.taints)


@virtual_time
async def test_each_node_gets_its_route_and_says_so() -> None:
    provider = FakeProvider()
    old = cloud.Route(name="old", node="gone", destination_cidr="10.244.9.0/24")
    foreign = cloud.Route(name="foreign", node="", destination_cidr="192.168.0.0/16")
    provider.routes = {("gone", "10.244.9.0/24"): old, ("", "192.168.0.0/16"): foreign}
    async with cluster(provider) as c:
        c.api.seed(node("node-1", pod_cidr="10.244.0.0/24"), node("node-2", pod_cidr="10.244.1.0/24"), node("bare"))
        await c.until(lambda: len(provider.routes) == 3)
        assert set(provider.routes) == {("", "192.168.0.0/16"), ("node-1", "10.244.0.0/24"), ("node-2", "10.244.1.0/24")}
        await c.until(lambda: all(_available(c.node(name)) for name in ("node-1", "node-2")))
        assert get_condition(c.node("bare").status, "NetworkUnavailable") is None
        await c.client.delete(core.Node, "node-2")
        await c.until(lambda: ("node-2", "10.244.1.0/24") not in provider.routes)
        provider.routes[("node-1", "10.244.0.0/24")].blackhole = True
        await c.until(lambda: not provider.routes[("node-1", "10.244.0.0/24")].blackhole)


@virtual_time
async def test_a_route_that_cannot_be_made_keeps_no_other_and_is_told() -> None:
    provider = FakeProvider(route_error=lambda route: Unavailable("table is full") if route.node == "node-1" else None)
    async with cluster(provider) as c:
        c.api.seed(node("node-1", pod_cidr="10.244.0.0/24"), node("node-2", pod_cidr="10.244.1.0/24"))
        await c.until(lambda: _available(c.node("node-2")))
        await c.until(lambda: is_true(c.node("node-1").status, "NetworkUnavailable"))
        await c.until(lambda: any("table is full" in text for text in c.events("FailedToCreateRoute")))
        provider.route_error = lambda route: None
        await c.until(lambda: _available(c.node("node-1")))


def _available(found: core.Node) -> bool:
    condition = get_condition(found.status, "NetworkUnavailable")
    return condition is not None and (condition.status, condition.reason) == ("False", "RouteCreated")


def test_a_range_that_moves_to_another_node_is_removed_before_it_is_made() -> None:
    wanted = plan(
        [node("node-2", pod_cidr="10.244.0.0/24")], [cloud.Route(node="node-1", destination_cidr="10.244.0.0/24")], "10.244.0.0/16"
    )
    assert [route.node for route in wanted.remove] == ["node-1"]
    assert [route.node for _, route in wanted.create] == ["node-2"]
    doubled = [cloud.Route(node="node-2", destination_cidr="10.244.0.0/24")] * 2
    assert len(plan([node("node-2", pod_cidr="10.244.0.0/24")], doubled, "10.244.0.0/16").remove) == 1

"""EndpointSliceMirroring: Endpoints kept by hand reach those who read slices only."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from services.controller.controllers.endpointslicemirroring.decide import decide, is_mirrored, skipped
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import service
from tests.support.virtual_time import virtual_time


def by_hand(*addresses: str, not_ready: tuple[str, ...] = (), port: int = 9000) -> core.Endpoints:
    made = core.Endpoints()
    made.metadata.name, made.metadata.namespace, made.metadata.uid = "web", "default", "uid-endpoints"
    made.metadata.labels["team"] = "blue"
    made.metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    made.metadata.annotations["note"] = "kept"
    subset = made.subsets.add()
    for address in addresses:
        subset.addresses.add(ip=address)
    for address in not_ready:
        subset.not_ready_addresses.add(ip=address)
    subset.ports.add(name="http", port=port, protocol="TCP")
    return made


def without_selector() -> core.Service:
    made = service()
    made.spec.selector.clear()
    return made


def mirrored(c: Cluster) -> dict[str, list[str]]:
    """Addresses by address type."""
    return {piece.address_type: [endpoint.addresses[0] for endpoint in piece.endpoints] for piece in c.api.all(discovery.EndpointSlice)}


def test_a_mirrored_slice_tells_what_the_endpoints_tell() -> None:
    (made,) = decide(by_hand("192.0.2.9", "192.0.2.10", not_ready=("192.0.2.1",)), []).create
    assert [(endpoint.addresses[0], endpoint.conditions.ready) for endpoint in made.endpoints] == [
        ("192.0.2.1", False),
        ("192.0.2.9", True),
        ("192.0.2.10", True),
    ]
    assert dict(made.metadata.labels) == {
        "team": "blue",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert dict(made.metadata.annotations) == {"note": "kept"}
    assert [(port.name, port.port, port.protocol) for port in made.ports] == [("http", 9000, "TCP")]
    assert (made.metadata.owner_references[0].kind, made.metadata.owner_references[0].uid) == ("Endpoints", "uid-endpoints")


def test_both_families_have_slices_of_their_own_and_order_is_no_change() -> None:
    made = list(decide(by_hand("192.0.2.2", "192.0.2.1", "fd00::1"), []).create)
    assert sorted(piece.address_type for piece in made) == ["IPv4", "IPv6"]
    assert decide(by_hand("fd00::1", "192.0.2.1", "192.0.2.2"), made).empty
    plan = decide(by_hand("192.0.2.1"), made)
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 1)


def test_a_thousand_addresses_of_a_subset_count() -> None:
    many = by_hand(*(f"10.1.{number // 250}.{number % 250 + 1}" for number in range(1005)))
    (made,) = decide(many, []).create
    assert (len(made.endpoints), skipped(many)) == (1000, 5)


def test_who_is_not_mirrored() -> None:
    assert is_mirrored(without_selector(), by_hand("192.0.2.1"))
    assert not is_mirrored(service(), by_hand("192.0.2.1")) and not is_mirrored(None, by_hand("192.0.2.1"))
    skip, leader, managed = (by_hand("192.0.2.1") for _ in range(3))
    skip.metadata.labels["endpointslice.kubernetes.io/skip-mirror"] = "true"
    leader.metadata.annotations["control-plane.alpha.kubernetes.io/leader"] = "{}"
    managed.metadata.labels["endpoints.kubernetes.io/managed-by"] = "endpoint-controller"
    assert not any(is_mirrored(without_selector(), found) for found in (skip, leader, managed))


@virtual_time
async def test_slices_follow_endpoints_and_go_with_them() -> None:
    async with cluster(kubelet=False) as c:
        await c.client.create(by_hand("192.0.2.1"))
        await c.client.create(without_selector())
        await c.until(lambda: mirrored(c) == {"IPv4": ["192.0.2.1"]})
        await c.edit(core.Endpoints, "web", lambda found: found.subsets[0].addresses.add(ip="192.0.2.2"))
        await c.until(lambda: mirrored(c) == {"IPv4": ["192.0.2.1", "192.0.2.2"]}, 0.05)
        await c.client.delete(core.Service, "web", "default")
        await c.until(lambda: not mirrored(c) and not c.api.all(core.Endpoints))


@virtual_time
async def test_a_service_that_gets_a_selector_is_no_longer_mirrored() -> None:
    async with cluster(kubelet=False) as c:
        await c.client.create(without_selector())
        await c.client.create(by_hand("192.0.2.1"))
        await c.until(lambda: mirrored(c) == {"IPv4": ["192.0.2.1"]})
        await c.edit(core.Service, "web", lambda found: found.spec.selector.update({"app": "web"}))
        await c.until(lambda: mirrored(c) == {"IPv4": []})
        await c.until(lambda: not c.api.all(core.Endpoints)[0].subsets)


@virtual_time
async def test_a_slice_of_ones_own_is_left_alone() -> None:
    async with cluster(kubelet=False) as c:
        own = discovery.EndpointSlice(address_type="IPv4")
        own.metadata.name, own.metadata.namespace = "own", "default"
        own.metadata.labels["kubernetes.io/service-name"] = "web"
        own.endpoints.add(addresses=["192.0.2.7"])
        await c.client.create(without_selector())
        await c.client.create(own)
        await c.client.create(by_hand("192.0.2.1"))
        await c.until(lambda: len(c.api.all(discovery.EndpointSlice)) == 2)
        await c.client.delete(core.Endpoints, "web", "default")
        await c.until(lambda: mirrored(c) == {"IPv4": ["192.0.2.7"]})


@virtual_time
async def test_too_many_addresses_are_told() -> None:
    async with cluster(kubelet=False) as c:
        await c.client.create(without_selector())
        await c.client.create(by_hand(*(f"10.1.{number // 250}.{number % 250 + 1}" for number in range(1005))))
        sentence = "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 5 addresses were skipped"
        await c.until(lambda: c.events("TooManyAddressesToMirror") == [sentence])

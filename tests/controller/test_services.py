"""EndpointSlices and Endpoints: pure decisions, then the executors in memory."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.informer import Informer
from services.controller.controllers.endpoints.decide import decide as decide_endpoints
from services.controller.controllers.endpointslice.decide import decide
from services.controller.endpoints.backends import backends
from services.controller.endpoints.service_changes import BY_LABEL, candidates
from services.controller.endpoints.slices import Plan
from tests.controller.cluster import cluster
from tests.controller.objects import node, pod, replica_set, service
from tests.support.virtual_time import virtual_time


def running(number: int, ready: bool = True, **labels: str) -> core.Pod:
    return pod(f"web-{number}", node="node-1", phase="Running", ready=ready, ip=f"10.244.0.{number}", **labels)


def endpoints_in(slices: list[discovery.EndpointSlice]) -> dict[str, tuple[bool, bool, bool]]:
    return {
        endpoint.addresses[0]: (endpoint.conditions.ready, endpoint.conditions.serving, endpoint.conditions.terminating)
        for found in slices
        for endpoint in found.endpoints
    }


def test_a_slice_tells_address_conditions_node_and_pod() -> None:
    target = service()
    going = running(3)
    going.metadata.deletion_timestamp.seconds = 1
    pods = [running(1), running(2, ready=False), going, running(4, app="other"), pod("web-5")]
    (made,) = decide(target, backends(target, pods), []).create
    assert endpoints_in([made]) == {
        "10.244.0.1": (True, True, False),
        "10.244.0.2": (False, False, False),
        "10.244.0.3": (False, True, True),
    }
    first = made.endpoints[0]
    assert (first.node_name, first.target_ref.kind, first.target_ref.name) == ("node-1", "Pod", "web-1")
    assert made.metadata.labels["kubernetes.io/service-name"] == "web"
    assert made.metadata.labels["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    assert [(port.name, port.port, port.protocol) for port in made.ports] == [("http", 8080, "TCP")]
    assert made.metadata.owner_references[0].kind == "Service"


def test_a_named_port_may_differ_from_pod_to_pod() -> None:
    target = service(target="web")
    pods = [running(1), running(2), running(3)]
    for number, found in zip((8080, 9090), pods, strict=False):
        found.spec.containers[0].ports.add(name="web", container_port=number, protocol="TCP")
    made = decide(target, backends(target, pods), []).create
    assert {(tuple(port.port for port in found.ports), len(found.endpoints)) for found in made} == {((8080,), 1), ((9090,), 1), ((), 1)}
    ports = {tuple(port.port for port in subset.ports) for subset in decide_endpoints(target, backends(target, pods), None).subsets}
    assert ports == {(8080,), (9090,)}


def test_a_service_without_endpoints_has_an_empty_slice() -> None:
    target = service()
    (made,) = decide(target, [], []).create
    assert (made.address_type, list(made.endpoints)) == ("IPv4", [])
    assert decide(target, [], [made]) == Plan([], [], [])


def test_publishing_not_ready_addresses_makes_them_ready() -> None:
    target = service()
    target.spec.publish_not_ready_addresses = True
    (made,) = decide(target, backends(target, [running(1, ready=False)]), []).create
    assert endpoints_in([made]) == {"10.244.0.1": (True, False, False)}
    subset = decide_endpoints(target, backends(target, [running(1, ready=False)]), None).subsets[0]
    assert [address.ip for address in subset.addresses] == ["10.244.0.1"]


def test_a_headless_service_says_so() -> None:
    target = service()
    target.spec.cluster_ip = "None"
    (made,) = decide(target, backends(target, [running(1)]), []).create
    assert "service.kubernetes.io/headless" in made.metadata.labels
    assert "service.kubernetes.io/headless" in decide_endpoints(target, [], None).metadata.labels


def test_endpoints_list_ready_and_not_ready_addresses_in_order() -> None:
    target = service()
    pods = [running(10), running(9), running(2, ready=False)]
    made = decide_endpoints(target, backends(target, pods), None)
    (subset,) = made.subsets
    assert [address.ip for address in subset.addresses] == ["10.244.0.9", "10.244.0.10"]
    assert [address.ip for address in subset.not_ready_addresses] == ["10.244.0.2"]
    assert decide_endpoints(target, backends(target, pods), made) == made


def apply(slices: list[discovery.EndpointSlice], plan: Plan) -> list[discovery.EndpointSlice]:
    gone = {found.metadata.name for found in (*plan.update, *plan.delete)}
    return [found for found in slices if found.metadata.name not in gone] + [*plan.create, *plan.update]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), limit=st.integers(1, 5))
def test_slices_always_tell_exactly_the_pods_and_little_is_rewritten(seed: int, limit: int) -> None:
    rng = random.Random(seed)
    target, pods, slices = service(), dict[int, core.Pod](), list[discovery.EndpointSlice]()
    for _ in range(30):
        number = rng.randrange(1, 20)
        if number in pods and rng.random() < 0.5:
            del pods[number]
        else:
            pods[number] = running(number, ready=rng.random() < 0.5)
        plan = decide(target, backends(target, pods.values()), slices, limit)
        assert len(plan.create) + len(plan.update) + len(plan.delete) <= 2
        slices = apply(slices, plan)
        told = [endpoint.addresses[0] for found in slices for endpoint in found.endpoints]
        assert sorted(told) == sorted(p.status.pod_ip for p in pods.values())
        assert all(len(found.endpoints) <= limit for found in slices)
        assert all(endpoints_in(slices)[p.status.pod_ip][1] == (p.status.conditions[0].status == "True") for p in pods.values())
        assert decide(target, backends(target, pods.values()), slices, limit) == Plan([], [], [])


@virtual_time
async def test_a_pod_that_becomes_ready_is_told_within_milliseconds() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(service())
        await c.client.create(replica_set())
        await c.until(lambda: len(c.ready_pods()) == 3)
        told = lambda: sorted(ip for ip, (ready, *_) in endpoints_in(c.api.all(discovery.EndpointSlice)).items() if ready)  # noqa: E731
        await c.until(lambda: told() == sorted(p.status.pod_ip for p in c.ready_pods()), 0.05)
        await c.until(lambda: len(c.api.all(core.Endpoints)[0].subsets[0].addresses) == 3, 0.05)
        victim = c.ready_pods()[0]
        await c.client.delete(core.Pod, victim.metadata.name, "default")
        await c.until(lambda: victim.status.pod_ip not in told(), 0.05)


@virtual_time
async def test_the_endpoints_of_a_deleted_service_go_with_it() -> None:
    async with cluster() as c:
        c.api.seed(node())
        await c.client.create(service())
        await c.until(lambda: c.api.all(core.Endpoints) and c.api.all(discovery.EndpointSlice))
        await c.client.delete(core.Service, "web", "default")
        await c.until(lambda: not c.api.all(core.Endpoints) and not c.api.all(discovery.EndpointSlice))


@virtual_time
async def test_slices_made_behind_a_slow_cache_are_not_doubled() -> None:
    async with cluster() as c:
        c.api.seed(node())
        c.api.latency_seconds = 0.3
        await c.client.create(service())
        await c.client.create(replica_set(replicas=5))
        await c.until(lambda: len(c.ready_pods()) == 5)
        await c.until(lambda: len(endpoints_in(c.api.all(discovery.EndpointSlice))) == 5)
        assert len(c.api.all(discovery.EndpointSlice)) == 1


@virtual_time
async def test_a_service_looks_only_at_pods_with_its_rarest_label() -> None:
    async with cluster(kubelet=False) as c:
        common = [running(number, app="web", tier="front") for number in range(1, 6)]
        elsewhere = running(6, app="web", canary="yes")
        elsewhere.metadata.namespace = "other"
        c.api.seed(node(), *common, running(7, app="web", canary="yes"), elsewhere)
        target = service()
        target.spec.selector["canary"] = "yes"
        pods = Informer(c.client, core.Pod)
        pods.add_index(BY_LABEL)
        for found in c.api.all(core.Pod):
            pods.store.put(found)
        assert [found.metadata.name for found in candidates(pods.store, target)] == ["web-7"]
        await c.client.create(target)
        await c.until(lambda: set(endpoints_in(c.api.all(discovery.EndpointSlice))) == {"10.244.0.7"})

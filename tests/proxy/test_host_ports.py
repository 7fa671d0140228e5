"""Host ports: from pods to routes, beside Services, and in the kernel with NetworkPolicies."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.host_ports import ANY_ADDRESS
from services.proxy.datapath.nftables.datapath import NftablesDatapath
from services.proxy.datapath.port import Datapath
from services.proxy.routing.build import Router
from services.proxy.routing.endpoints import Place
from services.proxy.routing.host_ports import owner_of, routes_of_pod
from services.proxy.routing.table import LOCAL, Change, Endpoint, Route, RouteKey
from tests.proxy.conformance import DATAPATHS, SETTINGS, abandon, answers, assert_refused, change, started
from tests.proxy.laboratory import Laboratory, ip

HOST_PORT = 18080


def pod(name: str = "srv", address: str = "10.244.0.11", *, seconds: int = 1, phase: str = "Running", **port: Any) -> core.Pod:
    made = core.Pod()
    made.metadata.name, made.metadata.namespace = name, "default"
    made.metadata.creation_timestamp.seconds = seconds
    made.status.pod_ip, made.status.phase = address, phase
    made.spec.containers.add(name="c").ports.add(**{"container_port": 8080, "host_port": HOST_PORT, "protocol": "TCP", **port})
    return made


def service(seconds: int = 5) -> core.Service:
    made = core.Service()
    made.metadata.name, made.metadata.namespace = "web", "default"
    made.metadata.creation_timestamp.seconds = seconds
    made.spec.cluster_ip = "10.96.0.10"
    made.spec.ports.add(port=80, node_port=HOST_PORT, protocol="TCP")
    return made


def test_a_host_port_leads_to_its_pod_alone_and_keeps_the_client() -> None:
    [route] = routes_of_pod(pod())
    assert route.key == RouteKey("default", "pod/srv", "tcp-18080")
    assert (route.node_port, route.host_ips, route.cluster_ips) == (HOST_PORT, (), ())
    assert route.endpoints == route.local_endpoints == (Endpoint("10.244.0.11", 8080, "srv"),)
    assert route.external_policy == LOCAL


@pytest.mark.parametrize(("host_ip", "bound"), [("", ()), (ANY_ADDRESS, ()), ("127.0.0.1", ("127.0.0.1",))])
def test_a_host_ip_is_the_only_address(host_ip: str, bound: tuple[str, ...]) -> None:
    [route] = routes_of_pod(pod(host_ip=host_ip))
    assert route.host_ips == bound and bool(route.node_port) is not bool(bound)


@pytest.mark.parametrize(
    ("made", "limitation"),
    [
        (pod(protocol="SCTP"), "SCTP is not served"),
        (pod(host_ip="::1"), "hostIP ::1: only IPv4 is served"),
    ],
)
def test_what_is_not_served_is_said(made: core.Pod, limitation: str) -> None:
    [route] = routes_of_pod(made)
    assert route.limitations == (limitation,) and not route.reached_from_outside


@pytest.mark.parametrize("made", [pod(address=""), pod(phase="Succeeded"), pod(phase="Failed"), pod(host_port=0)])
def test_no_route_without_a_pod_that_answers(made: core.Pod) -> None:
    assert routes_of_pod(made) == []


def test_pods_of_the_nodes_own_network_have_none() -> None:
    made = pod()
    made.spec.host_network = True
    assert routes_of_pod(made) == []


def test_the_older_of_a_node_port_and_a_host_port_has_it() -> None:
    router = Router(Place("node-a"))
    made = pod(seconds=1)
    router.put("default", "web", service(), [])
    router.put_pod(owner_of(made), made)
    mine, other = router.table[RouteKey("default", "pod/srv", "tcp-18080")], router.table[RouteKey("default", "web", "")]
    assert (mine.node_port, other.node_port) == (HOST_PORT, 0)
    assert other.limitations == (f"NodePort {HOST_PORT} belongs to default/pod/srv:tcp-18080",)
    assert router.put_pod(owner_of(made), None) == {mine.key, other.key}
    assert router.table[other.key].node_port == HOST_PORT and mine.key not in router.table


def of_pod(number: int = 0, **port: Any) -> Route:
    [route] = routes_of_pod(pod(f"pod{number}", Laboratory.pod_address(number), **port))
    return route


@pytest.mark.net
async def test_it_answers_everywhere_on_the_node(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, of_pod()))
    for origin in (lab.outside, lab.node, lab.pods[0], lab.pods[2]):
        assert await answers(lab, 1, lab.NODE_ADDRESS, HOST_PORT, origin=origin) == {"pod0": 1}
    assert await answers(lab, 1, "127.0.0.1", HOST_PORT) == {"pod0": 1}
    await datapath.apply(change(of_pod(), of_pod(1)))
    assert await answers(lab, 1, lab.NODE_ADDRESS, HOST_PORT, origin=lab.outside) == {"pod1": 1}
    await datapath.apply(change(of_pod(1), None))
    await assert_refused(lab, lab.NODE_ADDRESS, HOST_PORT, origin=lab.outside)


@pytest.mark.net
async def test_the_packet_filter_keeps_the_clients_address(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, of_pod()))
    _, source = await lab.ask(lab.NODE_ADDRESS, HOST_PORT, origin=lab.outside)
    assert (source == "192.168.50.2") is (datapath.name == "nftables")


@pytest.mark.net
async def test_a_host_ip_answers_alone(lab: Laboratory, datapath: Datapath) -> None:
    ip("addr add 192.168.50.9/24 dev uplink")
    one, other = of_pod(0, host_ip="192.168.50.9"), of_pod(1, host_ip="127.0.0.1")
    await datapath.apply(Change(added=(one, other)))
    for origin in (lab.outside, lab.node, lab.pods[2]):
        assert await answers(lab, 1, "192.168.50.9", HOST_PORT, origin=origin) == {"pod0": 1}
        await assert_refused(lab, lab.NODE_ADDRESS, HOST_PORT, origin=origin)
    assert await answers(lab, 1, "127.0.0.1", HOST_PORT) == {"pod1": 1}


@pytest.mark.net
async def test_a_host_ip_that_is_not_the_nodes_takes_nobodys_packets(lab: Laboratory, datapath: Datapath) -> None:
    """Whoever may make a pod must not get what is for others."""
    other = await lab.serve_in(lab.outside, "192.168.50.2", HOST_PORT, "outside")
    with lab.outside.entered():
        ip(f"route add 10.244.0.0/24 via {lab.NODE_ADDRESS}")
    await datapath.apply(change(None, of_pod(host_ip="192.168.50.2")))
    for origin in (lab.node, lab.pods[2]):
        assert await answers(lab, 1, "192.168.50.2", HOST_PORT, origin=origin) == {"outside": 1}
    await other.close()


@pytest.mark.net
@pytest.mark.parametrize("name", sorted(DATAPATHS))
async def test_what_a_killed_process_left_goes_with_the_pod(lab: Laboratory, name: str) -> None:
    """The heir finds the rule again, and leaves it where the pod is still there. A relay ends with its process."""
    await lab.serve(0)
    first = DATAPATHS[name](SETTINGS)
    await first.start()
    await first.apply(change(None, of_pod()))
    await (abandon(first) if isinstance(first, NftablesDatapath) else first.close())
    async with started(DATAPATHS[name](SETTINGS)) as heir:
        await heir.apply(change(None, of_pod()))
        assert await answers(lab, 1, lab.NODE_ADDRESS, HOST_PORT, origin=lab.outside) == {"pod0": 1}
        await heir.apply(change(of_pod(), None))
        await assert_refused(lab, lab.NODE_ADDRESS, HOST_PORT, origin=lab.outside)
    await lab.close_servers()

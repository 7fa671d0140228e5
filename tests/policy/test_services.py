"""Policies and Services on one node: judged after the destination is translated, and before the client is hidden."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.proxy.datapath.nftables.datapath import NftablesDatapath
from services.proxy.datapath.node_network import write_sysctl
from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.facts import DnsFacts
from services.proxy.policy.kernel import PolicyTable
from services.proxy.routing.host_ports import routes_of_pod
from services.proxy.routing.table import Endpoint, Route, RouteKey, diff
from services.proxy.settings import ProxySettings
from tests.policy import walk, worlds
from tests.policy.oracle import World
from tests.policy.probing import Probe, Prober
from tests.proxy.laboratory import Laboratory, ip

pytestmark = pytest.mark.net
SETTINGS = ProxySettings()
CLUSTER_IP, PORT, NODE_PORT, HOST_PORT, SERVED = "10.96.0.10", 80, 30080, 18080, 8080
DNS_IP, DNS_PORT, DNS_SERVED = "10.96.0.53", 53, 10053
DNS = DnsFacts("kube-system", {"k8s-app": "kube-dns"}, (DNS_IP,), {("dns", "udp"): 53, ("dns-tcp", "tcp"): 53})
OUTSIDE, NODE = "192.168.50.2", Laboratory.NODE_ADDRESS
SERVER, CLIENT, STRANGER, UNKNOWN = (Laboratory.pod_address(number) for number in range(4))
BRIDGE_CALLS = "net.bridge.bridge-nf-call-iptables"


@dataclass
class Node:
    """A node with a Service of one pod, cluster DNS outside, and three pods that are known; the fourth is not."""

    lab: Laboratory
    world: World
    engine: PolicyEngine
    table: PolicyTable
    thread: ThreadPoolExecutor
    prober: Prober

    def enforce(self, *specs: dict[str, Any]) -> None:
        self.world.policies = [worlds.policy_of({"name": f"policy-{number}", "spec": spec}) for number, spec in enumerate(specs)]
        walk.fill(self.engine, self.world)
        changes = {entry: self.engine.entries.get(entry) for entry in self.engine.settle()}
        self.thread.submit(self.table.apply, changes).result(20)
        assert self.thread.submit(self.table.ensure_seen).result(20) == ""

    def reached(self, expected: Iterable[tuple[str, str, str, int]], others: Iterable[tuple[str, str, str, int]] = ()) -> None:
        """Those expected get through, the others do not."""
        wanted = {Probe(*probe) for probe in expected}
        refused = {Probe(*probe) for probe in others}
        found = self.prober.reached(wanted | refused, wanted)
        assert not wanted - found, f"did not get through: {sorted(map(str, wanted - found))}"
        assert not found & refused, f"got through: {sorted(map(str, found & refused))}"


@pytest.fixture(params=["1", "0"], ids=["bridges are filtered", "bridges are not filtered"])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    with Laboratory(pods=4).opened() as lab, ThreadPoolExecutor(1) as thread:
        assert write_sysctl(BRIDGE_CALLS, request.param)
        with lab.outside.entered():
            ip(f"route add 10.244.0.0/24 via {NODE}")
        datapath = NftablesDatapath(SETTINGS)
        async with asyncio.timeout(60):
            await datapath.start()
            web = Route(RouteKey("default", "web", "http"), "tcp", (CLUSTER_IP,), PORT, NODE_PORT, (Endpoint(SERVER, SERVED, "pod-0"),))
            dns = Route(RouteKey("kube-system", "kube-dns", "dns"), "udp", (DNS_IP,), DNS_PORT, 0, (Endpoint(OUTSIDE, DNS_SERVED, ""),))
            await datapath.apply(diff({}, {route.key: route for route in (web, dns, *routes_of_pod(with_host_port()))}))
        await asyncio.sleep(0)
        pods = [
            worlds.pod("default", f"pod-{number}", {"app": app}, "node-0", Laboratory.pod_address(number))
            for number, app in enumerate(("server", "client", "stranger"))
        ]
        places = {Laboratory.pod_address(number): pod for number, pod in enumerate(lab.pods)} | {OUTSIDE: lab.outside, NODE: lab.node}
        prober = Prober(places)
        for address in (SERVER, CLIENT, STRANGER, UNKNOWN):
            prober.serve(places[address], [("TCP", SERVED)])
        prober.serve(lab.outside, [("UDP", DNS_SERVED), ("TCP", SERVED)])
        engine = PolicyEngine("node-0")
        engine.put_dns(DNS)
        engine.put_namespace("kube-system", {"kubernetes.io/metadata.name": "kube-system"})
        table = thread.submit(PolicyTable, SETTINGS.policy_table, SETTINGS.pod_bridge).result(20)
        try:
            yield Node(lab, World({"default": {}}, pods), engine, table, thread, prober)
        finally:
            prober.close()
            thread.submit(table.close).result(20)
            await datapath.close()
    gc.collect()


def with_host_port() -> core.Pod:
    made = core.Pod()
    made.metadata.namespace, made.metadata.name, made.status.pod_ip = "default", "pod-0", SERVER
    made.spec.containers.add(name="c").ports.add(container_port=SERVED, host_port=HOST_PORT, protocol="TCP")
    return made


def selecting(app: str, **spec: Any) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app": app}}, **spec}


CLOSED = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


async def test_through_a_service_the_client_and_the_pods_port_count(node: Node) -> None:
    everybody = [(source, CLUSTER_IP, "TCP", PORT) for source in (SERVER, CLIENT, STRANGER, UNKNOWN, NODE)]
    node.enforce()
    node.reached(everybody)
    peers = [{"podSelector": {"matchLabels": {"app": "client"}}}]
    node.enforce(selecting("server", ingress=[{"from": peers, "ports": [{"port": SERVED}]}]))
    allowed = [(source, CLUSTER_IP, "TCP", PORT) for source in (SERVER, CLIENT, NODE)]
    direct = [(source, SERVER, "TCP", SERVED) for source in (CLIENT, NODE)]
    refused = [(STRANGER, CLUSTER_IP, "TCP", PORT), (UNKNOWN, CLUSTER_IP, "TCP", PORT), (STRANGER, SERVER, "TCP", SERVED)]
    node.reached([*allowed, *direct], refused)
    node.enforce(selecting("server", ingress=[{"from": peers, "ports": [{"port": PORT}]}]))
    node.reached([(NODE, CLUSTER_IP, "TCP", PORT)], [(CLIENT, CLUSTER_IP, "TCP", PORT)])


async def test_egress_through_a_service_is_judged_by_the_pod_behind_it(node: Node) -> None:
    node.enforce(selecting("client", policyTypes=["Egress"], egress=[{"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}]))
    node.reached([(CLIENT, CLUSTER_IP, "TCP", PORT), (CLIENT, SERVER, "TCP", SERVED)], [(CLIENT, STRANGER, "TCP", SERVED)])
    node.enforce(selecting("client", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": f"{CLUSTER_IP}/32"}}]}]))
    node.reached([], [(CLIENT, CLUSTER_IP, "TCP", PORT), (CLIENT, SERVER, "TCP", SERVED)])


async def test_from_outside_the_clients_own_address_counts(node: Node) -> None:
    through = (OUTSIDE, NODE, "TCP", NODE_PORT)
    node.enforce(CLOSED, selecting("server", ingress=[{"from": [{"ipBlock": {"cidr": f"{OUTSIDE}/32"}}]}]))
    node.reached([through])
    node.enforce(CLOSED, selecting("server", ingress=[{"from": [{"ipBlock": {"cidr": "192.168.50.0/24", "except": [f"{OUTSIDE}/32"]}}]}]))
    node.reached([(NODE, NODE, "TCP", NODE_PORT)], [through])


async def test_through_a_host_port_the_clients_own_address_counts(node: Node) -> None:
    places = (OUTSIDE, SERVER, CLIENT, STRANGER)
    node.enforce()
    node.reached([(place, NODE, "TCP", HOST_PORT) for place in (*places, NODE)])
    node.enforce(CLOSED)
    node.reached([(place, NODE, "TCP", HOST_PORT) for place in (NODE, SERVER)], [(CLIENT, NODE, "TCP", HOST_PORT)])
    peers = [{"podSelector": {"matchLabels": {"app": "client"}}}, {"ipBlock": {"cidr": f"{OUTSIDE}/32"}}]
    node.enforce(selecting("server", ingress=[{"from": peers, "ports": [{"port": SERVED}]}]))
    allowed = [(place, NODE, "TCP", HOST_PORT) for place in (OUTSIDE, CLIENT)]
    node.reached(allowed, [(STRANGER, NODE, "TCP", HOST_PORT), (UNKNOWN, NODE, "TCP", HOST_PORT)])
    node.enforce(selecting("server", ingress=[{"from": peers, "ports": [{"port": HOST_PORT}]}]))
    node.reached([(NODE, NODE, "TCP", HOST_PORT)], allowed)


async def test_the_node_reaches_its_pods_and_pods_reach_the_node_and_themselves(node: Node) -> None:
    node.enforce(CLOSED)
    node.prober.serve(node.lab.node, [("TCP", 9999)])
    mine = [(NODE, pod, "TCP", SERVED) for pod in (SERVER, CLIENT, UNKNOWN)] + [
        (CLIENT, "10.244.0.1", "TCP", 9999),
        (CLIENT, NODE, "TCP", 9999),
    ]
    node.reached([*mine, (SERVER, CLUSTER_IP, "TCP", PORT)], [(CLIENT, SERVER, "TCP", SERVED), (CLIENT, OUTSIDE, "TCP", SERVED)])


@pytest.mark.parametrize(
    "rule",
    [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]},
        {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
            "ports": [{"port": 53, "protocol": "UDP"}],
        },
        {"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]},
        {"to": [{"ipBlock": {"cidr": f"{DNS_IP}/32"}}], "ports": [{"port": "dns", "protocol": "UDP"}]},
    ],
    ids=["by port", "by namespace", "by label", "by address and port's name"],
)
async def test_internet_access_can_be_shut_and_names_still_resolve(node: Node, rule: dict[str, Any]) -> None:
    node.enforce(selecting("client", policyTypes=["Egress"], egress=[rule]))
    shut = [(CLIENT, OUTSIDE, "UDP", DNS_SERVED), (CLIENT, OUTSIDE, "TCP", SERVED), (CLIENT, SERVER, "TCP", SERVED)]
    node.reached([(CLIENT, DNS_IP, "UDP", DNS_PORT), (STRANGER, DNS_IP, "UDP", DNS_PORT), (STRANGER, OUTSIDE, "TCP", SERVED)], shut)


async def test_names_do_not_resolve_where_that_is_not_allowed(node: Node) -> None:
    node.enforce(CLOSED)
    node.reached([], [(CLIENT, DNS_IP, "UDP", DNS_PORT)])
    node.enforce(selecting("client", policyTypes=["Egress"], egress=[{"ports": [{"port": 53}]}]))
    node.reached([], [(CLIENT, DNS_IP, "UDP", DNS_PORT)])


async def test_an_unknown_address_of_the_bridge_is_closed_from_the_first_policy_on(node: Node) -> None:
    both = [(UNKNOWN, STRANGER, "TCP", SERVED), (STRANGER, UNKNOWN, "TCP", SERVED), (UNKNOWN, OUTSIDE, "TCP", SERVED)]
    node.enforce()
    node.reached(both)
    node.enforce(selecting("nobody"))
    node.reached([(STRANGER, CLIENT, "TCP", SERVED)], both)
    node.world.pods.append(worlds.pod("default", "late", {}, "node-0", UNKNOWN))
    node.enforce(selecting("nobody"))
    node.reached(both)


async def test_an_open_connection_ends_when_it_is_no_longer_allowed_and_answers_need_no_leave(node: Node) -> None:
    node.enforce(selecting("client", policyTypes=["Ingress"]))
    for address, port in ((SERVER, SERVED), (CLUSTER_IP, PORT)):
        client, server = _connected(node, address, port)
        with client, server:
            assert _carries(client, server) and _carries(server, client)
            node.enforce(selecting("client", policyTypes=["Ingress"]), selecting("server", ingress=[]))
            assert not _carries(client, server)
            node.enforce(selecting("client", policyTypes=["Ingress"]))
            # What was held back comes again when the sender tries again.
            assert _carries(client, server, 15)


def _connected(node: Node, address: str, port: int) -> tuple[socket.socket, socket.socket]:
    listener = next(sock for sock in node.prober._listeners if sock.getsockname()[1] == SERVED)
    client = node.prober.places[CLIENT].socket()
    client.settimeout(5)
    client.connect((address, port))
    listener.settimeout(5)
    server, _ = listener.accept()
    listener.setblocking(False)
    return client, server


def _carries(sender: socket.socket, receiver: socket.socket, seconds: float = 0.5) -> bool:
    receiver.settimeout(seconds)
    sender.sendall(b"x")
    try:
        return bool(receiver.recv(1))
    except TimeoutError:
        return False

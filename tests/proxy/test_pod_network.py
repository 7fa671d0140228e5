"""The pod network on real sockets: nodes, their pods and the world outside as network namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from services.proxy.datapath.nftables.datapath import NftablesDatapath
from services.proxy.podnetwork.kernel import PodKernel, remove_pod_network
from services.proxy.podnetwork.plan import AUTO, ROUTES, VXLAN, Member, Plan
from services.proxy.routing.table import Change, Endpoint, Route, RouteKey
from services.proxy.settings import ProxySettings
from tests.proxy.laboratory import Namespace
from tests.proxy.machines import OUTSIDE, Machine, Machines

pytestmark = pytest.mark.net

PORT, CLUSTER_IP, NODE_PORT = 8080, "10.96.0.10", 30080
SETTINGS = ProxySettings(pod_network=AUTO)


class Kernels:
    """The pod network of each node, brought to what the members say by ``bring``."""

    def __init__(self, lab: Machines, mode: str = AUTO) -> None:
        self.lab = lab
        self.settings = {node.name: replace(SETTINGS, node_name=node.name, pod_network=mode) for node in lab.nodes}
        self.kernels = {node.name: PodKernel(self.settings[node.name]) for node in lab.nodes}
        # Each kernel's own thread, which lives in its node's namespace.
        self.threads = {node.name: ThreadPoolExecutor(1) for node in lab.nodes}

    def bring(self, members: list[Member] | None = None, *, only: int | None = None) -> dict[str, Plan]:
        plans = {}
        for node in self.lab.nodes if only is None else [self.lab.nodes[only]]:
            with node.namespace.entered():
                work = self.threads[node.name].submit(self.kernels[node.name].bring, members or self.lab.members)
            plans[node.name], limitations = work.result(10)
            assert limitations == []
        return plans

    def limitations(self, number: int) -> list[str]:
        node = self.lab.nodes[number]
        with node.namespace.entered():
            work = self.threads[node.name].submit(self.kernels[node.name].bring, self.lab.members)
        return work.result(10)[1]

    def close(self) -> None:
        for name, kernel in self.kernels.items():
            self.threads[name].submit(kernel.close).result(10)
            self.threads[name].shutdown()

    def remove(self, node: Machine) -> None:
        with node.namespace.entered(), ThreadPoolExecutor(1) as thread:
            thread.submit(remove_pod_network, self.settings[node.name]).result(10)


@contextlib.asynccontextmanager
async def running(lab: Machines, mode: str = AUTO) -> AsyncIterator[Kernels]:
    kernels = Kernels(lab, mode)
    async with asyncio.timeout(60):
        await lab.serve_everywhere()
        try:
            yield kernels
        finally:
            kernels.close()
            await lab.close_servers()
            await asyncio.sleep(0.01)
    gc.collect()


@pytest.fixture(params=["one network", "two networks"])
def pair(request: pytest.FixtureRequest) -> Iterator[Machines]:
    with Machines(2, routed=request.param == "two networks").opened() as machines:
        yield machines


@pytest.fixture
def routed() -> Iterator[Machines]:
    with Machines(2, routed=True).opened() as machines:
        yield machines


def shown(node: Machine, *command: str) -> str:
    with node.namespace.entered():
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


@contextlib.contextmanager
def unreachable() -> Iterator[None]:
    with pytest.raises(OSError) as error:
        yield
    assert error.value.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)


def shell(namespace: Namespace, commands: str) -> None:
    with namespace.entered():
        subprocess.run(commands, shell=True, check=True, capture_output=True, timeout=10)


def ours(node: Machine) -> list[str]:
    """Everything of ours in a node's kernel."""
    links = [line for line in shown(node, "ip", "-o", "link").splitlines() if "knarr-vx" in line]
    return [*shown(node, "ip", "route", "show", "proto", "76").splitlines(), *links, *shown(node, "nft", "list", "tables").splitlines()]


async def test_pods_reach_the_pods_of_other_nodes_with_their_own_address(pair: Machines) -> None:
    async with running(pair) as kernels:
        plans = kernels.bring()
        assert {peer.way for plan in plans.values() for peer in plan.peers} == {VXLAN if pair.routed else ROUTES}
        here, there = pair.nodes
        for one, other in ((here, there), (there, here)):
            assert await pair.ask(other.pod_address(), PORT, origin=one.pods[0]) == (other.pod_address(), one.pod_address())
            # A node's own processes, too.
            assert (await pair.ask(other.pod_address(), PORT, origin=one.namespace))[0] == other.pod_address()


async def test_pods_reach_the_outside_by_their_nodes_address(pair: Machines) -> None:
    async with running(pair) as kernels:
        kernels.bring()
        for node in pair.nodes:
            assert await pair.ask(OUTSIDE, PORT, origin=node.pods[0]) == ("outside", node.address)


async def test_a_way_that_was_chosen_is_taken(pair: Machines) -> None:
    async with running(pair, VXLAN) as kernels:
        kernels.bring()
        here, there = pair.nodes
        assert "dev knarr-vx" in shown(here, "ip", "route", "get", there.pod_address())
        assert await pair.ask(there.pod_address(), PORT, origin=here.pods[0]) == (there.pod_address(), here.pod_address())


async def test_routes_do_not_lead_to_another_network(routed: Machines) -> None:
    async with running(routed, ROUTES) as kernels:
        plan = kernels.bring()["node-0"]
        assert "not on this node's network" in plan.peers[0].problem
        with unreachable():
            await routed.ask(routed.nodes[1].pod_address(), PORT, origin=routed.nodes[0].namespace)


async def test_three_nodes_of_which_two_share_a_network() -> None:
    with Machines(3, routed=True).opened() as lab:
        # The third moves onto the network of the first.
        third = lab.nodes[2]
        shell(
            lab.fabric,
            "ip addr flush dev node2; ip addr flush dev node0; ip link add lan type bridge; ip link set lan up;"
            "ip link set node0 master lan; ip link set node2 master lan; ip addr add 192.168.60.1/24 dev lan",
        )
        third.address = "192.168.60.3"
        shell(
            third.namespace,
            "ip addr flush dev eth0; ip addr add 192.168.60.3/24 dev eth0; ip route add default via 192.168.60.1",
        )
        async with running(lab) as kernels:
            ways = {name: {peer.node: peer.way for peer in plan.peers} for name, plan in kernels.bring().items()}
            assert ways == {
                "node-0": {"node-1": VXLAN, "node-2": ROUTES},
                "node-1": {"node-0": VXLAN, "node-2": VXLAN},
                "node-2": {"node-0": ROUTES, "node-1": VXLAN},
            }
            for one in lab.nodes:
                for other in lab.nodes:
                    assert await lab.ask(other.pod_address(), PORT, origin=one.pods[0]) == (other.pod_address(), one.pod_address())


async def test_a_removed_node_is_forgotten_and_a_moved_one_is_followed(pair: Machines) -> None:
    async with running(pair) as kernels:
        here, there = pair.nodes
        kernels.bring()
        kernels.bring([here.member], only=0)
        with unreachable():
            await pair.ask(there.pod_address(), PORT, origin=here.namespace)
        assert not [line for line in ours(here) if "10.244.1" in line or "knarr-vx" in line]
        # Back with another address first, then with its true one.
        kernels.bring([here.member, replace(there.member, address=there.address[:-1] + "77")], only=0)
        kernels.bring(only=0)
        assert await pair.ask(there.pod_address(), PORT, origin=here.pods[0]) == (there.pod_address(), here.pod_address())
        assert there.address[:-1] + "77" not in shown(here, "bridge", "fdb", "show") + shown(
            here, "ip", "neigh", "show", "nud", "permanent"
        )


async def test_what_a_killed_process_left_is_taken_over_and_cleaned_up(pair: Machines) -> None:
    async with running(pair) as kernels:
        here, there = pair.nodes
        kernels.bring()
        before = ours(here)
        shell(here.namespace, f"ip route add 10.244.9.0/24 via {here.gateway} proto 76")
        # An open connection lives on while another process takes over.
        reader, writer = await pair.connect(there.pod_address(), PORT, origin=here.pods[0])
        await reader.readline()
        heir = Kernels(pair)
        heir.bring(only=0)
        heir.close()
        writer.write(b"still here\n")
        async with asyncio.timeout(5):
            assert await reader.readline() == b"still here\n"
        writer.close()
        await writer.wait_closed()
        assert ours(here) == before
        assert [line.split()[1] for line in before if "unreachable" in line] == ["10.96.0.0/16", "10.244.0.0/16"]
        kernels.remove(here)
        assert ours(here) == []
        kernels.remove(here)
        assert "knarr0" in shown(here, "ip", "route", "show", "10.244.0.0/24")


async def test_what_others_take_away_is_restored(routed: Machines) -> None:
    async with running(routed) as kernels:
        here, there = routed.nodes
        kernels.bring()
        before = ours(here)
        for harm in (
            "ip link del knarr-vx",
            "ip link set knarr-vx down",
            "ip route flush proto 76",
            "bridge fdb flush dev knarr-vx || bridge fdb del 02:6b:c0:a8:3d:02 dev knarr-vx dst 192.168.61.2",
            "ip neigh flush dev knarr-vx nud permanent",
            "nft flush table ip knarr-pods",
            "ip link set knarr-vx mtu 1200",
        ):
            shell(here.namespace, harm)
            kernels.bring(only=0)
            assert [line.split()[1] for line in ours(here)] == [line.split()[1] for line in before], harm
            assert await routed.ask(there.pod_address(), PORT, origin=here.pods[0]) == (there.pod_address(), here.pod_address()), harm
            assert "mtu 1450" in shown(here, "ip", "link", "show", "knarr-vx")


async def test_another_tunnel_of_that_name_is_made_anew(routed: Machines) -> None:
    async with running(routed) as kernels:
        here, there = routed.nodes
        shell(here.namespace, "ip link add knarr-vx type vxlan id 9 dstport 4789 local 192.168.60.2")
        kernels.bring()
        assert await routed.ask(there.pod_address(), PORT, origin=here.pods[0]) == (there.pod_address(), here.pod_address())


async def test_what_the_kernel_refuses_is_told_and_harms_no_other_way() -> None:
    with Machines(2).opened() as lab:
        here, there = lab.nodes
        async with running(lab) as kernels:
            shell(here.namespace, "ip link add other type vxlan id 75 dstport 8472 nolearning; ip link set other up")
            shell(here.namespace, "ip route add 10.244.3.0/24 via 192.168.50.1")
            far, taken = Member("far", "10.244.2.0/24", "172.16.0.2"), Member("taken", "10.244.3.0/24", "192.168.50.77")
            plan = kernels.bring([*lab.members, far, taken], only=0)["node-0"]
            problems = {peer.node: peer.problem for peer in plan.peers}
            assert problems["far"].startswith("the VXLAN device knarr-vx (VNI 75, UDP port 8472) cannot be made")
            assert problems["taken"] == "no route to 10.244.3.0/24 through 192.168.50.77 can be made: File exists"
            assert problems["node-1"] == ""
            kernels.bring(only=1)
            assert await lab.ask(there.pod_address(), PORT, origin=here.pods[0]) == (there.pod_address(), here.pod_address())
            # Once the others are gone, the next look makes it.
            shell(here.namespace, "ip link del other; ip route del 10.244.3.0/24 via 192.168.50.1")
            plan = kernels.bring([*lab.members, far, taken], only=0)["node-0"]
            assert not any(peer.problem for peer in plan.peers)


DOCKERS_FILTER = """*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o knarr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i knarr0 ! -o knarr0 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
-A POSTROUTING -s %s ! -o knarr0 -j MASQUERADE
COMMIT
"""


async def test_an_engine_that_filters_and_masquerades_by_itself_does_no_harm(pair: Machines) -> None:
    async with running(pair) as kernels:
        for node in pair.nodes:
            shell(node.namespace, f"iptables-restore <<'END'\n{DOCKERS_FILTER % node.member.pod_cidr}\nEND")
        before = shown(pair.nodes[0], "iptables", "-S")
        kernels.bring()
        here, there = pair.nodes
        assert await pair.ask(there.pod_address(), PORT, origin=here.pods[0]) == (there.pod_address(), here.pod_address())
        assert (await pair.ask(there.pod_address(), PORT, origin=here.namespace))[0] == there.pod_address()
        kernels.remove(here)
        assert shown(here, "iptables", "-S") == before


async def test_a_filter_without_a_chain_for_us_is_a_limitation(pair: Machines) -> None:
    async with running(pair) as kernels:
        shell(pair.nodes[0].namespace, "iptables -P FORWARD DROP")
        assert "DOCKER-USER" in kernels.limitations(0)[0]


async def test_large_payloads_fit_through_the_vxlan(routed: Machines) -> None:
    async with running(routed) as kernels:
        kernels.bring()
        here, there = routed.nodes
        payload = bytes(range(256)) * 8192
        reader, writer = await routed.connect(there.pod_address(), PORT, origin=here.pods[0])
        await reader.readline()
        writer.write(payload)
        async with asyncio.timeout(10):
            assert await reader.readexactly(len(payload)) == payload
        # Segments were sized for the tunnel from the start.
        mss = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        assert mss <= 1500 - 50 - 40
        writer.close()
        await writer.wait_closed()
        # Datagrams beyond the MTU arrive in fragments.
        receiver, sender = there.pods[0].socket(socket.SOCK_DGRAM), here.pods[0].socket(socket.SOCK_DGRAM)
        with receiver, sender:
            receiver.bind((there.pod_address(), 9999))
            receiver.settimeout(5)
            sender.sendto(payload[:8000], (there.pod_address(), 9999))
            data, (source, _) = receiver.recvfrom(65536)
            assert (data, source) == (payload[:8000], here.pod_address())


@contextlib.asynccontextmanager
async def services(lab: Machines, *endpoints: str) -> AsyncIterator[None]:
    """The Service ``web`` on every node."""
    key = RouteKey("default", "web", "http")
    route = Route(key, "tcp", (CLUSTER_IP,), 80, NODE_PORT, tuple(Endpoint(address, PORT) for address in endpoints))
    datapaths = []
    try:
        for node in lab.nodes:
            with node.namespace.entered():
                datapath = NftablesDatapath(SETTINGS)
                await datapath.start()
                datapaths.append((node, datapath))
                await datapath.apply(Change(added=(route,)))
        yield
    finally:
        for node, datapath in datapaths:
            with node.namespace.entered():
                await datapath.close()


async def test_services_lead_to_the_pods_of_all_nodes(pair: Machines) -> None:
    here, there = pair.nodes
    both = (here.pod_address(), there.pod_address())
    async with running(pair) as kernels, services(pair, *both):
        kernels.bring()
        for node in pair.nodes:
            for origin in (node.pods[0], node.namespace):
                answers = Counter([(await pair.ask(CLUSTER_IP, 80, origin=origin))[0] for _ in range(4)])
                assert answers == dict.fromkeys(both, 2)
            # Every node's port, from pods and nodes, and from outside.
            for target in pair.nodes:
                for origin in (node.pods[0], node.namespace, pair.outside):
                    answers = Counter([(await pair.ask(target.address, NODE_PORT, origin=origin))[0] for _ in range(4)])
                    assert answers == dict.fromkeys(both, 2)


async def test_a_service_keeps_the_source_across_nodes_and_a_pod_reaches_itself(pair: Machines) -> None:
    here, there = pair.nodes
    async with running(pair) as kernels, services(pair, there.pod_address()):
        kernels.bring()
        assert await pair.ask(CLUSTER_IP, 80, origin=here.pods[0]) == (there.pod_address(), here.pod_address())
        assert (await pair.ask(CLUSTER_IP, 80, origin=there.pods[0]))[0] == there.pod_address()


async def test_unassigned_ranges_stay_unreachable(pair: Machines) -> None:
    async with running(pair) as kernels, services(pair):
        kernels.bring()
        with unreachable():
            await pair.ask("10.244.200.1", PORT, origin=pair.nodes[0].pods[0])

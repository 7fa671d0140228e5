"""What every datapath must do, on real sockets in network namespaces."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from services.proxy.cleanup import remove_everything
from services.proxy.datapath.nftables import ruleset
from services.proxy.datapath.nftables.datapath import BRIDGE_CALLS, ROUTE_LOCALNET, NftablesDatapath
from services.proxy.datapath.nftables.libnftables import Nftables
from services.proxy.datapath.nftables.skeleton import Base
from services.proxy.datapath.nftables.slots import Slots
from services.proxy.datapath.node_network import ROUTE_PROTOCOL, NodeNetwork, read_sysctl, write_sysctl
from services.proxy.datapath.port import Datapath
from services.proxy.datapath.userspace.datapath import UserspaceDatapath
from services.proxy.routing.table import Change, Endpoint, Route, RouteKey, diff
from services.proxy.settings import ProxySettings
from tests.proxy.laboratory import Laboratory, ip

pytestmark = pytest.mark.net

CLUSTER_IP, PORT, NODE_PORT = "10.96.0.10", 80, 30080
SETTINGS = ProxySettings(drain_seconds=20.0)
DATAPATHS: dict[str, Callable[[ProxySettings], Datapath]] = {"nftables": NftablesDatapath, "userspace": UserspaceDatapath}


@pytest.fixture
def lab() -> Iterator[Laboratory]:
    with Laboratory().opened() as laboratory:
        yield laboratory


@pytest.fixture(params=sorted(DATAPATHS))
async def datapath(request: pytest.FixtureRequest, lab: Laboratory) -> AsyncIterator[Datapath]:
    made = DATAPATHS[request.param](SETTINGS)
    async with asyncio.timeout(60):
        for number in range(len(lab.pods)):
            await lab.serve(number)
        await made.start()
        yield made
        await made.close()
        await lab.close_servers()
        await asyncio.sleep(0.01)
    gc.collect()


def route(*pods: int, service: str = "web", cluster_ip: str = CLUSTER_IP, node_port: int = NODE_PORT) -> Route:
    endpoints = tuple(Endpoint(Laboratory.pod_address(pod), 8080, f"pod{pod}") for pod in pods)
    return Route(RouteKey("default", service, "http"), "tcp", (cluster_ip,), PORT, node_port, endpoints)


def change(old: Route | None, new: Route | None) -> Change:
    return diff({old.key: old} if old else {}, {new.key: new} if new else {})


async def answers(lab: Laboratory, count: int, address: str = CLUSTER_IP, port: int = PORT, **where: object) -> Counter[str]:
    return Counter([(await lab.ask(address, port, **where))[0] for _ in range(count)])  # type: ignore[arg-type]


async def assert_refused(lab: Laboratory, address: str, port: int, **where: object) -> None:
    with pytest.raises(ConnectionRefusedError):
        await lab.ask(address, port, **where)  # type: ignore[arg-type]


EVEN = {"pod0": 3, "pod1": 3, "pod2": 3}


async def test_deals_out_connections_in_turn(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0, 1, 2)))
    assert await answers(lab, 9) == EVEN
    assert await answers(lab, 9, lab.NODE_ADDRESS, NODE_PORT) == EVEN
    assert await answers(lab, 9, "127.0.0.1", NODE_PORT) == EVEN


async def test_serves_pods_and_other_machines(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(1, 2)))
    assert await answers(lab, 4, origin=lab.pods[0]) == {"pod1": 2, "pod2": 2}
    assert await answers(lab, 4, lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside) == {"pod1": 2, "pod2": 2}
    assert await answers(lab, 4, lab.NODE_ADDRESS, NODE_PORT, origin=lab.pods[0]) == {"pod1": 2, "pod2": 2}


async def test_a_pod_reaches_itself(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0)))
    assert await answers(lab, 3, origin=lab.pods[0]) == {"pod0": 3}


async def test_the_turns_follow_a_change(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0, 1)))
    assert await answers(lab, 4) == {"pod0": 2, "pod1": 2}
    await datapath.apply(change(route(0, 1), route(0, 1, 2)))
    assert await answers(lab, 9) == EVEN
    await datapath.apply(change(route(0, 1, 2), route(2)))
    assert await answers(lab, 2) == {"pod2": 2}


async def test_open_connections_outlive_their_endpoint(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0)))
    reader, writer = await lab.connect(CLUSTER_IP, PORT)
    assert (await reader.readline()).startswith(b"pod0")
    await datapath.apply(change(route(0), route(1)))
    assert await answers(lab, 3) == {"pod1": 3}
    writer.write(b"still here\n")
    async with asyncio.timeout(5):
        assert await reader.readline() == b"still here\n"
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("origin", ["node", "pod"])
async def test_refuses_without_endpoints(lab: Laboratory, datapath: Datapath, origin: str) -> None:
    where = lab.node if origin == "node" else lab.pods[0]
    await datapath.apply(change(None, route()))
    await assert_refused(lab, CLUSTER_IP, PORT, origin=where)
    await assert_refused(lab, lab.NODE_ADDRESS, NODE_PORT, origin=where)
    await datapath.apply(change(route(), route(0)))
    assert await answers(lab, 1, origin=where) == {"pod0": 1}
    await datapath.apply(change(route(0), route()))
    await assert_refused(lab, CLUSTER_IP, PORT, origin=where)


async def test_a_removed_service_is_gone(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0)))
    await datapath.apply(change(route(0), None))
    with pytest.raises(OSError):
        await lab.ask(CLUSTER_IP, PORT)
    await assert_refused(lab, lab.NODE_ADDRESS, NODE_PORT)


async def test_addresses_move_between_services(lab: Laboratory, datapath: Datapath) -> None:
    old, new = route(0), route(1, service="other")
    await datapath.apply(change(None, old))
    await datapath.apply(diff({old.key: old}, {new.key: new}))
    assert await answers(lab, 2) == {"pod1": 2}
    assert await answers(lab, 2, lab.NODE_ADDRESS, NODE_PORT) == {"pod1": 2}
    moved = route(1, service="other", cluster_ip="10.96.0.20", node_port=30081)
    await datapath.apply(change(new, moved))
    assert await answers(lab, 2, "10.96.0.20") == {"pod1": 2}
    assert await answers(lab, 2, lab.NODE_ADDRESS, 30081) == {"pod1": 2}
    await assert_refused(lab, lab.NODE_ADDRESS, NODE_PORT)


async def test_half_closed_connections_and_large_bodies(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0)))
    reader, writer = await lab.connect(CLUSTER_IP, PORT)
    await reader.readline()
    body = bytes(range(256)) * 4096 * 4

    async def send() -> None:
        writer.write(body)
        await writer.drain()
        writer.write_eof()

    async with asyncio.timeout(20):
        _, echoed = await asyncio.gather(send(), reader.read())
    assert echoed == body
    writer.close()
    await writer.wait_closed()


async def test_clients_may_speak_first(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route(0)))
    sock = lab.node.socket()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        await loop.sock_connect(sock, (CLUSTER_IP, PORT))
        await loop.sock_sendall(sock, b"first word\n")
        sock.shutdown(socket.SHUT_WR)
        reader, writer = await asyncio.open_connection(sock=sock)
        assert (await reader.read()).endswith(b"\nfirst word\n")
    writer.close()
    await writer.wait_closed()


async def test_reaches_endpoints_of_the_node_itself(lab: Laboratory, datapath: Datapath) -> None:
    server = await asyncio.start_server(_greet, lab.NODE_ADDRESS, 6443)
    wanted = Route(RouteKey("default", "kubernetes", "https"), "tcp", ("10.96.0.1",), 443, 0, (Endpoint(lab.NODE_ADDRESS, 6443),))
    await datapath.apply(change(None, wanted))
    assert await answers(lab, 1, "10.96.0.1", 443) == {"node": 1}
    assert await answers(lab, 1, "10.96.0.1", 443, origin=lab.pods[0]) == {"node": 1}
    server.close()


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(f"node {writer.get_extra_info('peername')[0]}\n".encode())
    await reader.read()
    writer.close()


async def test_counts_connections(lab: Laboratory, datapath: Datapath) -> None:
    wanted = route(0, 1)
    await datapath.apply(change(None, wanted))
    await answers(lab, 4)
    counters = await datapath.counters([wanted.key])
    assert [counters[wanted.key, endpoint] for endpoint in wanted.endpoints] == [2, 2]


async def test_nothing_is_left_behind(lab: Laboratory, datapath: Datapath) -> None:
    before = _state()
    await datapath.apply(change(None, route(0)))
    assert _state() != before
    await datapath.close()
    left = _state()
    assert CLUSTER_IP not in left and "knarr {" not in left and f"proto {ROUTE_PROTOCOL}" not in left
    await datapath.start()


async def test_the_routes_of_another_cluster_are_left_alone(lab: Laboratory) -> None:
    other = ("10.98.0.0/16", "10.246.0.0/16")

    def use(work: Callable[[NodeNetwork], object]) -> object:
        network = NodeNetwork(other)
        try:
            return work(network)
        finally:
            network.close()

    await asyncio.to_thread(use, lambda network: network.block())
    await asyncio.to_thread(use, lambda network: network.add_local_routes(["10.98.0.1"]))
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    await datapath.apply(change(None, route(0)))
    await datapath.close()
    await asyncio.to_thread(remove_everything, SETTINGS)
    assert len(await asyncio.to_thread(use, lambda network: network.routes())) == 3
    await asyncio.to_thread(use, lambda network: network.remove_all())


async def test_a_killed_proxy_is_taken_over_and_cleaned_up(lab: Laboratory) -> None:
    for number in range(2):
        await lab.serve(number)
    await asyncio.to_thread(_leave_behind, route(0))
    heir = NftablesDatapath(SETTINGS)
    await heir.start()
    assert await answers(lab, 2) == {"pod0": 2}
    await heir.apply(change(None, route(1)))
    assert await answers(lab, 2) == {"pod1": 2}
    assert read_sysctl(ROUTE_LOCALNET) == "1"
    await heir.close()
    assert read_sysctl(ROUTE_LOCALNET) == "0"
    await asyncio.to_thread(_leave_behind, route(0))
    await asyncio.to_thread(remove_everything, SETTINGS)
    assert read_sysctl(ROUTE_LOCALNET) == "0"
    left = _state()
    assert f"proto {ROUTE_PROTOCOL}" not in left and "knarr {" not in left
    await lab.close_servers()


def _leave_behind(left: Route) -> None:
    """What a proxy leaves that was killed."""
    nft, network = Nftables(), NodeNetwork(SETTINGS.ranges)
    base = Base(SETTINGS.table, SETTINGS.service_cidr, SETTINGS.pod_cidr, SETTINGS.pod_bridge, localnet_was_off=True)
    write_sysctl(ROUTE_LOCALNET, "1")
    nft.run(ruleset.full(base, Slots(), [left]))
    network.block()
    network.add_local_routes([CLUSTER_IP])
    nft.close()
    network.close()


async def test_a_flushed_table_is_restored(lab: Laboratory) -> None:
    await lab.serve(0)
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    await datapath.apply(change(None, route(0)))
    await datapath.apply(change(route(0), route(0, 1)))
    await asyncio.to_thread(subprocess.run, ["nft", "flush", "ruleset"], check=True, timeout=10)
    async with asyncio.timeout(10):
        while ": goto service-" not in await asyncio.to_thread(_state):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await datapath.apply(change(route(0, 1), route(0)))
    assert await answers(lab, 2) == {"pod0": 2}
    await datapath.close()
    await lab.close_servers()


def _state() -> str:
    commands = (["nft", "list", "ruleset"], ["ip", "-N", "route"], ["ip", "address", "show", "lo"])
    return "".join(subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout for command in commands)


async def test_pods_of_a_bridge_without_packet_filtering(lab: Laboratory) -> None:
    if not write_sysctl(BRIDGE_CALLS, "0"):
        pytest.skip("br_netfilter is not loaded, so the other tests run without it")
    for number in range(2):
        await lab.serve(number)
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    await datapath.apply(change(None, route(0, 1)))
    assert await answers(lab, 4, origin=lab.pods[0]) == {"pod0": 2, "pod1": 2}
    await datapath.close()
    await lab.close_servers()


async def test_sources_are_kept_between_pods_only(lab: Laboratory) -> None:
    await lab.serve(1)
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    await datapath.apply(change(None, route(1)))
    kept = lab.pod_address(0) if read_sysctl(BRIDGE_CALLS) == "1" else "10.244.0.1"
    assert (await lab.ask(CLUSTER_IP, PORT, origin=lab.pods[0]))[1] == kept
    assert (await lab.ask(CLUSTER_IP, PORT))[1] == "10.244.0.1"
    assert (await lab.ask(lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside))[1] == "10.244.0.1"
    await datapath.close()
    await lab.close_servers()


async def test_counters_move_with_their_endpoint(lab: Laboratory) -> None:
    for number in range(3):
        await lab.serve(number)
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    await datapath.apply(change(None, route(0, 1, 2)))
    await answers(lab, 6)
    await datapath.apply(change(route(0, 1, 2), route(1, 2)))
    await answers(lab, 4)
    after = route(1, 2)
    counters = await datapath.counters([after.key])
    assert [counters[after.key, endpoint] for endpoint in after.endpoints] == [4, 4]
    await datapath.close()
    await lab.close_servers()


async def test_no_connection_fails_while_endpoints_flap(lab: Laboratory) -> None:
    """Every change is atomic: each connection finds one of the endpoints before or after it."""
    for number in range(3):
        await lab.serve(number)
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    await datapath.apply(change(None, route(0, 1, 2)))
    states = [route(0, 1, 2), route(2), route(1, 2), route(0, 2)]
    finished = asyncio.Event()

    async def flap() -> None:
        for old, new in zip(states * 25, (states * 25)[1:], strict=False):
            await datapath.apply(change(old, new))
        finished.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(flap())
        asked = 0
        while not finished.is_set():
            await lab.ask(CLUSTER_IP, PORT)
            asked += 1
    assert asked > 20
    await datapath.close()
    await lab.close_servers()


DOCKERS_FILTER = """*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o knarr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i knarr0 -j ACCEPT
-A DOCKER-USER -s 192.0.2.0/24 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""


def _filter() -> str:
    return _do("iptables", "-S")


def _do(*command: str, stdin: str = "") -> str:
    return subprocess.run(command, input=stdin, check=True, capture_output=True, text=True, timeout=10).stdout


async def test_node_ports_are_let_through_dockers_filter(lab: Laboratory) -> None:
    """Other machines reach NodePorts and pods stay closed; the rule goes with us, also after a crash."""
    _do("iptables-restore", stdin=DOCKERS_FILTER)
    before = _filter()
    await lab.serve(1)
    with lab.outside.entered():
        ip("route del unreachable 10.244.0.0/16 metric 4100000000", f"route add 10.244.0.0/16 via {lab.NODE_ADDRESS}")
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    assert not any("packet filter" in limitation for limitation in datapath.limitations)
    await datapath.apply(change(None, route(1)))
    assert await answers(lab, 2, lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside) == {"pod1": 2}
    sock = lab.outside.socket()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.get_running_loop().sock_connect(sock, (lab.pod_address(1), 8080))
    sock.close()
    await datapath.close()
    assert _filter() == before
    await datapath.start()
    await asyncio.to_thread(remove_everything, SETTINGS)
    assert _filter() == before
    await datapath.close()
    await lab.close_servers()


async def test_a_filter_without_a_chain_for_us_is_a_limitation(lab: Laboratory) -> None:
    _do("iptables", "-P", "FORWARD", "DROP")
    before = _filter()
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    assert any("DOCKER-USER" in limitation for limitation in datapath.limitations)
    assert _filter() == before
    await datapath.close()

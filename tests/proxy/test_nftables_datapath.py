"""What only the nftables datapath does: it shares the kernel's packet filter with others, and outlives its process."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TypeVar

import pytest

from services.proxy import traces
from services.proxy.cleanup import remove_everything
from services.proxy.datapath.nftables import ruleset
from services.proxy.datapath.nftables.datapath import BRIDGE_CALLS, ROUTE_LOCALNET, NftablesDatapath
from services.proxy.datapath.nftables.libnftables import Nftables
from services.proxy.datapath.nftables.skeleton import Base
from services.proxy.datapath.nftables.slots import Slots
from services.proxy.datapath.node_network import ROUTE_PROTOCOL, NodeNetwork, read_sysctl, write_sysctl
from services.proxy.routing.table import Route
from tests.proxy.conformance import CLUSTER_IP, NODE_PORT, PORT, SETTINGS, answers, change, node_state, route
from tests.proxy.laboratory import Laboratory, ip

pytestmark = pytest.mark.net


R = TypeVar("R")


async def test_the_routes_of_another_cluster_are_left_alone(lab: Laboratory) -> None:
    other = ("10.98.0.0/16", "10.246.0.0/16")

    def use(work: Callable[[NodeNetwork], R]) -> R:
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
    left = node_state()
    assert f"proto {ROUTE_PROTOCOL}" not in left and "knarr {" not in left
    await lab.close_servers()


async def test_what_a_killed_proxy_left_is_found_and_removed_by_its_name(lab: Laboratory) -> None:
    """Of two over one range, too, of which one lives: what bears no name is that one's."""
    gone, lives, unnamed = (replace(SETTINGS, instance=name) for name in ("0badcafe", "01234567", ""))
    ranges = list(SETTINGS.ranges)

    def leave() -> None:
        with closing(Nftables()) as nft:
            for settings in (gone, lives, unnamed):
                for table in (settings.table, settings.policy_table, settings.pod_table):
                    nft.run(f"table ip {table} {{}}")
        for settings in (gone, lives, unnamed):
            with closing(NodeNetwork(ranges, settings.instance)) as network:
                network.block()
                network.add_local_routes([CLUSTER_IP])

    def left() -> tuple[list[str], list[str]]:
        return sorted(set(traces.tables()) & named), sorted({name for _, name in traces.closed()})

    named = {name for one in (gone, lives, unnamed) for name in (one.table, one.policy_table, one.pod_table)}
    await asyncio.to_thread(leave)
    assert await asyncio.to_thread(left) == (sorted(named), ["", "0123456", "0badcaf"])
    await asyncio.to_thread(traces.remove_traces, gone.instance, ranges)
    kept = sorted(named - {gone.table, gone.policy_table, gone.pod_table})
    assert await asyncio.to_thread(left) == (kept, ["", "0123456"])
    assert f"{CLUSTER_IP} dev lo proto {ROUTE_PROTOCOL}" in await asyncio.to_thread(node_state)
    for settings in (lives, unnamed):
        await asyncio.to_thread(traces.remove_traces, settings.instance or "knarr", [])
    assert f"{CLUSTER_IP} dev" not in await asyncio.to_thread(node_state)
    await asyncio.to_thread(remove_everything, unnamed)


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
        while ": goto service-" not in await asyncio.to_thread(node_state):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await datapath.apply(change(route(0, 1), route(0)))
    assert await answers(lab, 2) == {"pod0": 2}
    await datapath.close()
    await lab.close_servers()


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

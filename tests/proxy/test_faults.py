"""What goes wrong around a datapath, and what has to go on all the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from services.proxy import metrics
from services.proxy.cleanup import remove_everything
from services.proxy.datapath.nftables.datapath import NftablesDatapath
from services.proxy.datapath.port import Datapath
from services.proxy.datapath.userspace.datapath import UserspaceDatapath
from services.proxy.routing.table import diff
from services.proxy.settings import ProxySettings
from tests.proxy.conformance import (
    CLUSTER_IP,
    NODE_PORT,
    PORT,
    SETTINGS,
    abandon,
    answers,
    assert_refused,
    change,
    node_state,
    route,
    started,
)
from tests.proxy.laboratory import Laboratory, Namespace, ip

pytestmark = pytest.mark.net

VICTIM = """
import asyncio, sys
from services.proxy.datapath.nftables.datapath import NftablesDatapath
from services.proxy.routing.table import Change
from tests.proxy.conformance import SETTINGS, route

async def main():
    datapath = NftablesDatapath(SETTINGS)
    await datapath.start()
    await datapath.apply(Change(added=(route(0, 1),)))
    print("in force", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_connections_go_on_while_the_proxy_is_killed(lab: Laboratory) -> None:
    """Not one of those that are made before, during and after it fails; an open one goes on."""
    for number in range(2):
        await lab.serve(number)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", VICTIM, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"in force\n"
        reader, writer = await lab.connect(CLUSTER_IP, PORT)
        name = (await reader.readline()).split()[0]
        async with asyncio.TaskGroup() as group:
            load = [group.create_task(answers(lab, 40)) for _ in range(4)]
            await lab.ask(CLUSTER_IP, PORT)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        assert sum(sum(found.result().values()) for found in load) == 160
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n" and name.startswith(b"pod")
    writer.close()
    await writer.wait_closed()
    assert await answers(lab, 2) == {"pod0": 1, "pod1": 1}
    await asyncio.to_thread(remove_everything, SETTINGS)
    assert CLUSTER_IP not in await asyncio.to_thread(node_state)
    await lab.close_servers()


async def test_a_planned_stop_lets_userspace_connections_come_to_their_end(lab: Laboratory) -> None:
    await lab.serve(0)
    datapath = UserspaceDatapath(ProxySettings(stop_seconds=20.0))
    await datapath.start()
    await datapath.apply(change(None, route(0)))
    reader, writer = await lab.connect(CLUSTER_IP, PORT)
    await reader.readline()
    stopping = asyncio.create_task(datapath.close())
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                await lab.ask(CLUSTER_IP, PORT)
                continue
            break
        writer.write(b"one more thing\n")
        assert await reader.readline() == b"one more thing\n"
        assert not stopping.done()
        writer.write_eof()
        assert await reader.read() == b""
        await stopping
    writer.close()
    await writer.wait_closed()
    assert CLUSTER_IP not in await asyncio.to_thread(node_state)
    await lab.close_servers()


async def test_a_planned_stop_is_bounded(lab: Laboratory) -> None:
    await lab.serve(0)
    datapath = UserspaceDatapath(ProxySettings(stop_seconds=0.05))
    await datapath.start()
    await datapath.apply(change(None, route(0)))
    reader, writer = await lab.connect(CLUSTER_IP, PORT)
    await reader.readline()
    async with asyncio.timeout(10):
        await datapath.close()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    await lab.close_servers()


async def test_a_flooded_route_leaves_room_for_others(lab: Laboratory) -> None:
    """Clients that connect and say nothing take no more than a route's share; the rest is turned away at once, and counted."""
    for number in range(2):
        await lab.serve(number)
    async with started(UserspaceDatapath(ProxySettings(max_connections=40, stop_seconds=0.0))) as datapath:
        flooded, other = route(0), route(1, service="other", cluster_ip="10.96.0.20", node_port=0)
        await datapath.apply(diff({}, {flooded.key: flooded, other.key: other}))
        before = metrics.REFUSED.labels("limit")._value.get()
        opened = [await lab.connect(CLUSTER_IP, PORT, origin=lab.pods[2]) for _ in range(60)]
        lines = [await _line(reader) for reader, _ in opened]
        assert lines.count(b"") == 30 and all(line == b"" for line in lines[30:])
        assert metrics.REFUSED.labels("limit")._value.get() == before + 30
        assert await answers(lab, 5, "10.96.0.20") == {"pod1": 5}
        for _, writer in opened:
            writer.transport.abort()
        await _recovers(lab, CLUSTER_IP, PORT, lab.node)
    await lab.close_servers()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(5):
            return await reader.readline()
    except ConnectionResetError:
        return b""


async def _recovers(lab: Laboratory, address: str, port: int, origin: Namespace) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(ConnectionResetError):
                await lab.ask(address, port, origin=origin)
                return
            await asyncio.sleep(0.01)


async def test_ten_thousand_half_open_connections(lab: Laboratory, datapath: Datapath) -> None:
    """Requests for a connection that nobody follows up, from addresses that do not answer."""
    await datapath.apply(change(None, route(0, 1)))
    await asyncio.to_thread(_flood, lab, 10_000)
    found = await answers(lab, 10, lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside)
    assert set(found) == {"pod0", "pod1"} and sum(found.values()) == 10
    assert sum((await answers(lab, 10)).values()) == 10


def _flood(lab: Laboratory, count: int) -> None:
    dice = random.Random(4)
    with lab.outside.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sock:
        for _ in range(count):
            source = f"192.168.50.{dice.randrange(100, 200)}"
            sock.sendto(_request_to_connect(source, dice.randrange(1024, 65536), lab.NODE_ADDRESS, NODE_PORT), (lab.NODE_ADDRESS, 0))


def _request_to_connect(source: str, source_port: int, address: str, port: int) -> bytes:
    """An IPv4 packet with a SYN."""
    ends = socket.inet_aton(source) + socket.inet_aton(address)
    segment = struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 0x02, 65535, 0, 0)
    words = struct.unpack("!16H", ends + struct.pack("!HH", socket.IPPROTO_TCP, len(segment)) + segment)
    total = sum(words)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    segment = segment[:16] + struct.pack("!H", checksum) + segment[18:]
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0) + ends + segment


async def test_running_out_of_ports_is_said_and_passes(lab: Laboratory) -> None:
    """A relay needs a port of the node's for each connection to an endpoint."""
    await lab.serve(0)
    _write("net/ipv4/ip_local_port_range", "40000 40015")
    async with started(UserspaceDatapath(ProxySettings(stop_seconds=0.0))) as datapath:
        await datapath.apply(change(None, route(0)))
        before = metrics.REFUSED.labels("no-local-port")._value.get()
        opened = [await lab.connect(lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside) for _ in range(24)]
        lines = [await _line(reader) for reader, _ in opened]
        turned_away = metrics.REFUSED.labels("no-local-port")._value.get() - before
        for _, writer in opened:
            writer.transport.abort()
        await _recovers(lab, lab.NODE_ADDRESS, NODE_PORT, lab.outside)
    await lab.close_servers()
    assert 8 <= lines.count(b"") <= 16 and turned_away == lines.count(b""), (lines, turned_away)


def _write(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(value)


# As firewalld lays out its table: hooks of its own beside ours, and all that it does not know is refused at the end.
FIREWALL = """
table inet firewalld {
  chain nat_PREROUTING {
    type nat hook prerouting priority -90; policy accept;
    tcp dport 12345 redirect to :80
  }
  chain nat_POSTROUTING {
    type nat hook postrouting priority 110; policy accept;
    oifname "uplink" masquerade
  }
  chain filter_INPUT {
    type filter hook input priority 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname { "lo", "knarr0" } accept
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD {
    type filter hook forward priority 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    reject with icmpx admin-prohibited
  }
}
table ip others {
  map somebody { type ipv4_addr : verdict; }
  chain service-x { }
}
"""


async def test_the_tables_of_others_are_left_alone_and_do_no_harm(lab: Laboratory) -> None:
    await asyncio.to_thread(subprocess.run, ["nft", "-f", "-"], input=FIREWALL, text=True, check=True, timeout=10)
    before = await asyncio.to_thread(_foreign_tables)
    for number in range(2):
        await lab.serve(number)
    async with started(NftablesDatapath(SETTINGS)) as datapath:
        await datapath.apply(change(None, route(0, 1, load_balancer_ips=("192.168.50.200",), held=True)))
        for address, port in ((lab.NODE_ADDRESS, NODE_PORT), ("192.168.50.200", 80)):
            assert await answers(lab, 2, address, port, origin=lab.outside) == {"pod0": 1, "pod1": 1}
        assert await answers(lab, 2, origin=lab.pods[2]) == {"pod0": 1, "pod1": 1}
        await asyncio.to_thread(subprocess.run, ["nft", "flush", "table", "ip", "knarr"], check=True, timeout=10)
        async with asyncio.timeout(10):
            while ": goto service-" not in await asyncio.to_thread(node_state):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await asyncio.to_thread(_foreign_tables) == before
    assert await asyncio.to_thread(_foreign_tables) == before
    await asyncio.to_thread(remove_everything, SETTINGS)
    assert await asyncio.to_thread(_foreign_tables) == before
    await lab.close_servers()


def _foreign_tables() -> str:
    commands = (["nft", "list", "table", "inet", "firewalld"], ["nft", "list", "table", "ip", "others"])
    return "".join(subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout for command in commands)


async def test_a_held_address_is_removed_after_a_crash(lab: Laboratory) -> None:
    near = "192.168.50.200"
    abandoned = NftablesDatapath(SETTINGS)
    await abandoned.start()
    await abandoned.apply(change(None, route(load_balancer_ips=(near, "10.97.0.9"), held=True)))
    assert f"{near}/32" in await asyncio.to_thread(node_state)
    await abandon(abandoned)
    ip("addr add 192.168.50.201/32 dev uplink")
    await asyncio.to_thread(remove_everything, SETTINGS)
    left = await asyncio.to_thread(node_state)
    assert near not in left and "10.97.0.9" not in left and "192.168.50.201/32" in left


async def test_an_heir_gives_up_what_it_does_not_hold(lab: Laboratory) -> None:
    near, kept = "192.168.50.200", "192.168.50.202"
    first = NftablesDatapath(SETTINGS)
    await first.start()
    await first.apply(change(None, route(0, load_balancer_ips=(near, kept), held=True)))
    await abandon(first)
    async with started(NftablesDatapath(SETTINGS)) as heir:
        await heir.apply(change(None, route(0, load_balancer_ips=(kept,), held=True)))
        assert dict(heir.held) == {kept: "uplink"}
        left = await asyncio.to_thread(node_state)
        assert f"{near}/32" not in left and f"{kept}/32" in left


async def test_without_endpoints_nothing_of_a_flood_is_kept(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, route()))
    await asyncio.to_thread(_flood, lab, 500)
    await assert_refused(lab, lab.NODE_ADDRESS, NODE_PORT, origin=lab.outside)

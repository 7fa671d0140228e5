"""What every datapath must do, on real sockets in network namespaces."""

from __future__ import annotations

import asyncio
import socket

import pytest

from services.proxy.datapath.node_network import ROUTE_PROTOCOL
from services.proxy.datapath.port import Datapath
from services.proxy.routing.table import Endpoint, Route, RouteKey, diff
from tests.proxy.conformance import CLUSTER_IP, NODE_PORT, PORT, answers, assert_refused, change, node_state, route
from tests.proxy.laboratory import Laboratory

pytestmark = pytest.mark.net

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
    before = node_state()
    await datapath.apply(change(None, route(0)))
    assert node_state() != before
    await datapath.close()
    left = node_state()
    assert CLUSTER_IP not in left and "knarr {" not in left and f"proto {ROUTE_PROTOCOL}" not in left
    await datapath.start()

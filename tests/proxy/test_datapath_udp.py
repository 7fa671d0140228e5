"""UDP through every datapath: flows, answers from the right address, and clients that keep their port when their endpoint goes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from services.proxy.datapath.port import Datapath
from services.proxy.routing.table import LOCAL, Route, diff
from tests.proxy.conformance import CLUSTER_IP, NODE_PORT, change, pod_endpoints, route
from tests.proxy.laboratory import Laboratory, Namespace, ip

pytestmark = pytest.mark.net

NEAR = "192.168.50.200"


class Echo(asyncio.DatagramProtocol):
    """Answers each datagram with its own name, the client's address and what was sent."""

    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(f"{self._name} {addr[0]} ".encode() + data, addr)


@pytest.fixture(autouse=True)
async def echoes(lab: Laboratory) -> AsyncIterator[None]:
    transports = []
    for number, pod in enumerate(lab.pods):
        sock = pod.socket(socket.SOCK_DGRAM)
        sock.bind((lab.pod_address(number), 8080))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda number=number: Echo(f"pod{number}"), sock=sock)  # type: ignore[misc]
        transports.append(transport)
    yield
    for transport in transports:
        transport.close()
    await asyncio.sleep(0)


class Client:
    """One socket, connected: only answers from the address it asked reach it."""

    def __init__(self, origin: Namespace, address: str, port: int) -> None:
        self._sock = origin.socket(socket.SOCK_DGRAM)
        self._sock.connect((address, port))

    async def ask(self, seconds: float = 5.0) -> tuple[str, str]:
        """(who answered, the source it saw); OSError when refused, TimeoutError when nobody answers."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._sock, b"hello")
        async with asyncio.timeout(seconds):
            name, source, said = (await loop.sock_recv(self._sock, 2048)).decode().split()
        assert said == "hello"
        return name, source

    def close(self) -> None:
        self._sock.close()


@contextlib.contextmanager
def client(lab: Laboratory, address: str = CLUSTER_IP, port: int = 80, origin: Namespace | None = None) -> Iterator[Client]:
    made = Client(origin or lab.node, address, port)
    try:
        yield made
    finally:
        made.close()


async def answers(lab: Laboratory, count: int, address: str = CLUSTER_IP, port: int = 80, origin: Namespace | None = None) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        with client(lab, address, port, origin) as one:
            found[(await one.ask())[0]] += 1
    return found


def udp(*pods: int, **more: Any) -> Route:
    return route(*pods, **{"protocol": "udp", **more})


async def test_deals_out_flows_in_turn(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, udp(0, 1, load_balancer_ips=(NEAR,), held=True)))
    even = {"pod0": 2, "pod1": 2}
    assert await answers(lab, 4) == even
    assert await answers(lab, 4, origin=lab.pods[2]) == even
    assert await answers(lab, 4, NEAR, origin=lab.outside) == even
    for origin in (lab.outside, lab.node, lab.pods[2]):
        assert await answers(lab, 4, lab.NODE_ADDRESS, NODE_PORT, origin) == even
    assert await answers(lab, 4, "127.0.0.1", NODE_PORT) == even
    counters = await datapath.counters([udp(0, 1).key])
    assert list(counters.values()) == [14, 14]


async def test_a_flow_stays_with_its_endpoint(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, udp(0, 1, 2)))
    with client(lab) as one, client(lab) as other:
        names = [(await one.ask())[0], (await other.ask())[0]]
        assert names[0] != names[1]
        for _ in range(3):
            assert [(await one.ask())[0], (await other.ask())[0]] == names


async def test_answers_come_from_the_address_that_was_asked(lab: Laboratory, datapath: Datapath) -> None:
    ip("addr add 192.168.50.77/24 dev uplink")
    await datapath.apply(change(None, udp(0)))
    assert await answers(lab, 2, "192.168.50.77", NODE_PORT, lab.outside) == {"pod0": 2}


async def test_a_client_that_keeps_its_port_moves_with_the_endpoints(lab: Laboratory, datapath: Datapath) -> None:
    before = udp(0, load_balancer_ips=(NEAR,), held=True)
    await datapath.apply(change(None, before))
    places = [(CLUSTER_IP, 80, lab.pods[2]), (NEAR, 80, lab.outside), (lab.NODE_ADDRESS, NODE_PORT, lab.outside)]
    clients = [Client(origin, address, port) for address, port, origin in places]
    assert [(await one.ask())[0] for one in clients] == ["pod0"] * 3
    after = udp(1, load_balancer_ips=(NEAR,), held=True)
    await datapath.apply(change(before, after))
    for one in clients:
        assert await eventually(one, "pod1")
        one.close()


async def test_a_client_that_asked_too_early_reaches_the_first_endpoint(lab: Laboratory, datapath: Datapath) -> None:
    """What was sent before there was a Service left its traces in the kernel."""
    with client(lab, origin=lab.pods[2]) as one:
        with pytest.raises(OSError):
            await one.ask(0.2)
        await datapath.apply(change(None, udp()))
        with pytest.raises(OSError):
            await one.ask(0.2)
        await datapath.apply(change(udp(), udp(1)))
        assert await eventually(one, "pod1")


async def eventually(one: Client, name: str) -> bool:
    """Whether the next answers come from there: flows are ended a moment after the change."""
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(OSError):
                if (await one.ask(0.1))[0] == name:
                    return True


async def test_refuses_without_endpoints(lab: Laboratory, datapath: Datapath) -> None:
    await datapath.apply(change(None, udp()))
    for origin in (lab.node, lab.pods[0]):
        # A process of the node itself is told by the packet filter that it may not send.
        with client(lab, origin=origin) as one, pytest.raises((ConnectionRefusedError, PermissionError)):
            await one.ask()


async def test_policies_and_affinity_hold_for_flows(lab: Laboratory, datapath: Datapath) -> None:
    local = udp(0, 1, external_policy=LOCAL, local_endpoints=pod_endpoints(1))
    await datapath.apply(change(None, local))
    assert await answers(lab, 3, lab.NODE_ADDRESS, NODE_PORT, lab.outside) == {"pod1": 3}
    assert await answers(lab, 4, lab.NODE_ADDRESS, NODE_PORT, lab.pods[2]) == {"pod0": 2, "pod1": 2}
    sticky = udp(0, 1, affinity_seconds=600)
    await datapath.apply(change(local, sticky))
    assert len(await answers(lab, 3, origin=lab.pods[2])) == 1


async def test_one_port_for_both_protocols(lab: Laboratory, datapath: Datapath) -> None:
    """As for DNS: the same address and port, once for TCP and once for UDP."""
    streams, datagrams = route(0), udp(1, service="datagrams")
    await datapath.apply(diff({}, {streams.key: streams, datagrams.key: datagrams}))
    assert await answers(lab, 2) == {"pod1": 2}
    assert (await lab.ask(CLUSTER_IP, 80))[0] == "pod0"

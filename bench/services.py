"""Ten thousand Services of ten endpoints each: how long until they are in force, what one change costs, what a first packet pays.

The whole proxy component runs in namespaces of its own, on an API server in memory. `python -m bench.services` shows one run.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import statistics
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator

from bench.result import Result
from bench.sandbox import command, inside, prepare
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.client import Client
from services.apiserver.in_memory import ApiInMemory
from services.proxy.component import Proxy
from services.proxy.datapath.nftables.datapath import NftablesDatapath
from services.proxy.routing.table import Change
from services.proxy.settings import ProxySettings

SERVICES = 10_000
ENDPOINTS = 10
NAMESPACE, PORT, BACKEND_PORT = "default", 80, 8080
FIRST_ADDRESS = int(ipaddress.ip_address("10.96.1.0"))
FIRST_ENDPOINT = int(ipaddress.ip_address("10.244.0.1"))
# Any address of them is this machine's: so each of the endpoints answers. No wider than the ranges that are refused otherwise.
ENDPOINT_RANGES = ("10.244.0.0/16", "10.245.0.0/16")
# What connections of the node itself come from behind a Service.
NODE_ADDRESS = "192.0.2.1"
MEASURED = SERVICES // 2
CHANGES = 20
CONNECTIONS = 1_000
WAIT_SECONDS = 90
FIRST_TARGET_SECONDS, CHANGE_TARGET_MS, PACKET_TARGET = 10.0, 50.0, 1.2


class WatchedDatapath(NftablesDatapath):
    """Tells which endpoint addresses the last changes brought in force."""

    def __init__(self, settings: ProxySettings) -> None:
        super().__init__(settings)
        self.fresh: set[str] = set()
        self.applied = asyncio.Event()

    async def apply(self, change: Change) -> None:
        await super().apply(change)
        if len(change.after) < SERVICES:
            self.fresh = {endpoint.address for route in change.after for endpoint in route.endpoints}
        self.applied.set()


async def many_services() -> list[Result]:
    found = await inside("bench.services", tools=("nft",))
    first, change, many, one = (found[name] for name in ("first_seconds", "change_ms", "packet_many_us", "packet_one_us"))
    seconds, milliseconds, times = FIRST_TARGET_SECONDS, CHANGE_TARGET_MS, PACKET_TARGET
    return [
        Result("services-first", first, "s", "target", seconds, f"≤ {seconds:g} s", first <= seconds),
        Result("services-change", change, "ms", "target", milliseconds, f"≤ {milliseconds:g} ms", change <= milliseconds),
        Result("services-first-packet", many, "µs", "the same with one Service", one, f"≤ {times:g} × one", many <= times * one),
    ]


async def _inside() -> dict[str, float]:
    await prepare()
    for cidr in ENDPOINT_RANGES:
        await command("ip", "route", "add", "local", cidr, "dev", "lo")
    await command("ip", "addr", "add", f"{NODE_ADDRESS}/32", "dev", "lo")
    api = ApiInMemory()
    api.start()
    client = api.client()
    with _listening():
        api.seed(*_objects(MEASURED))
        async with _proxy(api):
            one = _packet_us()
        api.seed(*(made for number in range(SERVICES) if number != MEASURED for made in _objects(number)))
        started = time.perf_counter()
        async with _proxy(api) as datapath:
            first = time.perf_counter() - started
            many = _packet_us()
            changes = [await _change(client, datapath, number) for number in range(CHANGES)]
    return {"first_seconds": first, "change_ms": statistics.median(changes), "packet_many_us": many, "packet_one_us": one}


@contextlib.asynccontextmanager
async def _proxy(api: ApiInMemory) -> AsyncIterator[WatchedDatapath]:
    """The datapath of a proxy whose first table is in force."""
    settings = ProxySettings(instance="bench")
    datapath = WatchedDatapath(settings)
    task = asyncio.create_task(Proxy(api.client(), settings, datapath).run())
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            applied = asyncio.create_task(datapath.applied.wait())
            await asyncio.wait((task, applied), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            applied.cancel()
            await task
        yield datapath
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _change(client: Client, datapath: WatchedDatapath, number: int) -> float:
    """Milliseconds from writing another endpoint into a slice until it is in force."""
    found = await client.get(discovery.EndpointSlice, f"s{number * (SERVICES // CHANGES)}", NAMESPACE)
    found.endpoints[0].addresses[0] = f"10.245.255.{number + 1}"
    datapath.applied.clear()
    started = time.perf_counter()
    await client.update(found)
    async with asyncio.timeout(WAIT_SECONDS):
        while found.endpoints[0].addresses[0] not in datapath.fresh:
            await datapath.applied.wait()
            datapath.applied.clear()
    return (time.perf_counter() - started) * 1000


def _packet_us() -> float:
    """Median of how long a connection to one of the Services takes to be answered by the kernel of the endpoint."""
    address = str(ipaddress.ip_address(FIRST_ADDRESS + MEASURED))
    times = []
    for _ in range(CONNECTIONS):
        with socket.socket() as client:
            # Reset at the end: nothing is left waiting.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            started = time.perf_counter()
            client.connect((address, PORT))
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """The kernel answers connections to all endpoints; nobody needs to take them."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", BACKEND_PORT))
        listener.listen(4096)
        yield


def _objects(number: int) -> tuple[core.Service, discovery.EndpointSlice]:
    name = f"s{number}"
    service = core.Service()
    service.metadata.namespace, service.metadata.name = NAMESPACE, name
    service.spec.type, service.spec.cluster_ip = "ClusterIP", str(ipaddress.ip_address(FIRST_ADDRESS + number))
    service.spec.ports.add(name="http", port=PORT, protocol="TCP")
    piece = discovery.EndpointSlice(address_type="IPv4")
    piece.metadata.namespace, piece.metadata.name = NAMESPACE, name
    piece.metadata.labels["kubernetes.io/service-name"] = name
    piece.ports.add(name="http", port=BACKEND_PORT, protocol="TCP")
    for index in range(ENDPOINTS):
        address = str(ipaddress.ip_address(FIRST_ENDPOINT + number * ENDPOINTS + index))
        piece.endpoints.add(addresses=[address]).conditions.ready = True
    return service, piece


def main() -> None:
    """Measures once and prints what was found as JSON."""
    import uvloop

    print(json.dumps(uvloop.run(_inside() if "--inside" in sys.argv else inside("bench.services"))))


if __name__ == "__main__":
    main()

"""What only the userspace datapath does, and what either does without privilege."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from services.proxy.datapath.userspace import balancer
from services.proxy.datapath.userspace.datapath import UserspaceDatapath
from services.proxy.routing.table import Change, Endpoint, Route, RouteKey
from services.proxy.settings import ProxySettings
from tests.proxy.laboratory import Laboratory, ip

pytestmark = pytest.mark.net

KEY = RouteKey("default", "web", "")
LIVE, DEAD = Endpoint(Laboratory.pod_address(0), 8080), Endpoint(Laboratory.pod_address(0), 9)

UNPRIVILEGED = """
import asyncio, sys
from services.proxy.datapath.port import DatapathError
from services.proxy.component import make_datapath
from services.proxy.settings import ProxySettings
from services.proxy.routing.table import Change, Endpoint, Route, RouteKey

async def main():
    datapath = make_datapath(ProxySettings(datapath=sys.argv[1]))
    try:
        await datapath.start()
    except DatapathError as error:
        print("refused:", error)
        return
    route = Route(RouteKey("default", "web", ""), "tcp", ("10.96.0.10",), 80, 30080, (Endpoint("127.0.0.1", 1),))
    await datapath.apply(Change(added=(route,)))
    _, writer = await asyncio.open_connection("127.0.0.1", 30080)
    writer.close()
    print("serves NodePorts;", *datapath.limitations)
    await datapath.close()

asyncio.run(main())
"""


@pytest.fixture
def lab() -> Iterator[Laboratory]:
    with Laboratory(pods=1).opened() as laboratory:
        yield laboratory


@contextlib.asynccontextmanager
async def started(datapath: UserspaceDatapath) -> AsyncIterator[UserspaceDatapath]:
    await datapath.start()
    try:
        yield datapath
    finally:
        await datapath.close()


def route(*endpoints: Endpoint) -> Route:
    return Route(KEY, "tcp", ("10.96.0.10",), 80, 0, endpoints)


async def test_a_dead_endpoint_is_passed_over(lab: Laboratory) -> None:
    await lab.serve(0)
    async with started(UserspaceDatapath(ProxySettings())) as datapath:
        await datapath.apply(Change(added=(route(DEAD, LIVE),)))
        assert [(await lab.ask("10.96.0.10", 80))[0] for _ in range(3)] == ["pod0"] * 3
        counters = await datapath.counters([KEY])
        assert (counters[KEY, DEAD], counters[KEY, LIVE]) == (0, 3)
    await lab.close_servers()


async def test_an_endpoint_that_never_answers_is_passed_over(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer, "CONNECT_TIMEOUT_SECONDS", 0.05)
    silent = Endpoint("10.244.0.99", 8080)
    ip(f"neigh replace {silent.address} lladdr 02:00:00:00:00:99 dev knarr0 nud permanent")
    await lab.serve(0)
    async with started(UserspaceDatapath(ProxySettings())) as datapath:
        await datapath.apply(Change(added=(route(silent, LIVE),)))
        assert [(await lab.ask("10.96.0.10", 80))[0] for _ in range(3)] == ["pod0"] * 3
        await datapath.apply(Change(updated=((route(silent, LIVE), route(silent)),)))
        with pytest.raises(ConnectionResetError):
            await lab.ask("10.96.0.10", 80)
    await lab.close_servers()


async def test_draining_is_bounded(lab: Laboratory) -> None:
    await lab.serve(0)
    async with started(UserspaceDatapath(ProxySettings(drain_seconds=0.05))) as datapath:
        await datapath.apply(Change(added=(route(LIVE),)))
        reader, writer = await lab.connect("10.96.0.10", 80)
        assert (await reader.readline()).startswith(b"pod0")
        await datapath.apply(Change(removed=(route(LIVE),)))
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        await datapath.check()
        addresses = await asyncio.to_thread(subprocess.run, ["ip", "address", "show", "lo"], check=True, capture_output=True, timeout=10)
        assert b"10.96.0.10" not in addresses.stdout
    await lab.close_servers()


@pytest.mark.parametrize(
    ("datapath", "says"),
    [("userspace", ["serves NodePorts", "without NET_ADMIN only NodePorts are served"]), ("nftables", ["refused", "NET_ADMIN"])],
)
def test_without_privilege(lab: Laboratory, datapath: str, says: list[str]) -> None:
    command = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", sys.executable, "-c", UNPRIVILEGED, datapath]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    assert all(words in done.stdout for words in says), done.stdout

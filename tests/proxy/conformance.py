"""What the tests of every datapath share: routes to the laboratory's pods, and who answers at an address."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from services.proxy.datapath.nftables.datapath import NftablesDatapath
from services.proxy.datapath.port import Datapath
from services.proxy.datapath.userspace.datapath import UserspaceDatapath
from services.proxy.routing.table import Change, Endpoint, Route, RouteKey, diff
from services.proxy.settings import ProxySettings
from tests.proxy.laboratory import Laboratory, Namespace

CLUSTER_IP, PORT, NODE_PORT = "10.96.0.10", 80, 30080
SETTINGS = ProxySettings(drain_seconds=20.0, load_balancer_cidr="10.97.0.0/24", node_name="node-a")
DATAPATHS: dict[str, Callable[[ProxySettings], Datapath]] = {"nftables": NftablesDatapath, "userspace": UserspaceDatapath}


def pod_endpoints(*pods: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(Laboratory.pod_address(pod), 8080, f"pod{pod}") for pod in pods)


def route(*pods: int, service: str = "web", cluster_ip: str = CLUSTER_IP, node_port: int = NODE_PORT, **more: Any) -> Route:
    made = Route(RouteKey("default", service, "http"), "tcp", (cluster_ip,), PORT, node_port, pod_endpoints(*pods))
    return replace(made, **more)


def change(old: Route | None, new: Route | None) -> Change:
    return diff({old.key: old} if old else {}, {new.key: new} if new else {})


async def answers(
    lab: Laboratory, count: int, address: str = CLUSTER_IP, port: int = PORT, *, origin: Namespace | None = None
) -> Counter[str]:
    """Who answers so many new connections, one after the other."""
    return Counter([(await lab.ask(address, port, origin=origin))[0] for _ in range(count)])


async def assert_refused(lab: Laboratory, address: str, port: int, *, origin: Namespace | None = None) -> None:
    with pytest.raises(ConnectionRefusedError):
        await lab.ask(address, port, origin=origin)


def node_state() -> str:
    """The node's rules, routes and addresses of lo."""
    commands = (["nft", "list", "ruleset"], ["ip", "-N", "route"], ["ip", "address"])
    return "".join(subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout for command in commands)


@contextlib.asynccontextmanager
async def started(datapath: Datapath) -> AsyncIterator[Datapath]:
    await datapath.start()
    try:
        yield datapath
    finally:
        await datapath.close()


async def abandon(datapath: NftablesDatapath) -> None:
    """Leaves all of it as a killed process does."""
    asyncio.get_running_loop().remove_reader(datapath._watcher.fileno())
    for part in (datapath._watcher, datapath._nft, datapath._changes, datapath._network):
        await datapath._in_worker(part.close)
    datapath._worker.shutdown()

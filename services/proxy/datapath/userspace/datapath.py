"""The userspace datapath: a balancer for each route. ClusterIPs are addresses of lo where we may add them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar

from services.proxy.datapath.node_network import NodeNetwork
from services.proxy.datapath.port import Counters, Datapath, DatapathError
from services.proxy.datapath.userspace.balancer import Balancer
from services.proxy.routing.table import Change, ClusterIPs, Route, RouteKey, patch
from services.proxy.settings import ProxySettings

ANY_ADDRESS = "0.0.0.0"

R = TypeVar("R")


class UserspaceDatapath(Datapath):
    """Relays connections in this process. Without NET_ADMIN it serves NodePorts only."""

    name: ClassVar[str] = "userspace"

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._network: NodeNetwork | None = None
        self._routes: dict[RouteKey, Route] = {}
        self._balancers: dict[RouteKey, Balancer] = {}
        self._ips = ClusterIPs()
        # The addresses of lo that are ours, as far as we know; only the worker changes it.
        self._there: set[str] = set()
        # Whether what a predecessor left is gone.
        self._settled = False
        # Removed routes whose connections go on for a while; their ClusterIPs stay so long.
        self._draining: dict[Balancer, tuple[str, ...]] = {}
        self._problems: dict[RouteKey, list[str]] = {}
        self._limitations: list[str] = []

    @property
    def limitations(self) -> tuple[str, ...]:
        problems = (f"{key}: {problem}" for key, found in sorted(self._problems.items()) for problem in found)
        return (*self._limitations, *problems)

    async def start(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proxy-netlink")
        self._routes.clear()
        self._ips = ClusterIPs()
        self._settled = False
        self._limitations = ["UDP ports are not served", "pods see this node as the source of every connection"]
        self._network = await self._in_worker(self._open)
        if self._network is None:
            self._limitations.append("without NET_ADMIN only NodePorts are served, no ClusterIPs")

    def _open(self) -> NodeNetwork | None:
        network = NodeNetwork(self._settings.ranges)
        try:
            network.block()
        except PermissionError:
            network.close()
            return None
        # What a killed proxy left goes with the first change.
        self._there = network.addresses()
        return network

    async def _in_worker(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def apply(self, change: Change) -> None:
        come, gone = self._ips.difference(change)
        if come:
            await self._add_addresses(come)
        for route in change.removed:
            await self._stop(route.key)
        for old, new in change.updated:
            if (old.cluster_ips, old.port, old.node_port) != (new.cluster_ips, new.port, new.node_port):
                await self._serve(Route(new.key, new.protocol, (), new.port, 0, new.endpoints))
        for route in change.after:
            await self._serve(route)
        patch(self._routes, change)
        self._ips.apply(change)
        if gone or not self._settled:
            self._settled = True
            await self._remove_addresses()

    async def _stop(self, key: RouteKey) -> None:
        balancer = self._balancers.pop(key, None)
        self._problems.pop(key, None)
        if balancer is not None:
            await balancer.close(drain=True)
            self._draining[balancer] = self._routes[key].cluster_ips

    async def _serve(self, route: Route) -> None:
        if route.protocol != "tcp":
            return
        balancer = self._balancers.setdefault(route.key, Balancer(self._settings.drain_seconds))
        addresses = [(ip, route.port) for ip in route.cluster_ips] if self._network is not None else []
        if route.node_port:
            addresses.append((ANY_ADDRESS, route.node_port))
        problems = await balancer.update(route, addresses)
        self._problems.pop(route.key, None)
        if problems:
            self._problems[route.key] = problems

    async def _add_addresses(self, addresses: set[str]) -> None:
        if self._network is None:
            return
        try:
            await self._in_worker(lambda: self._add_missing(addresses))
        except OSError as error:
            raise DatapathError(f"addresses could not be added: {error}") from error

    def _add_missing(self, addresses: set[str]) -> None:
        if self._network is not None:
            self._network.add_addresses(addresses)
        self._there |= addresses

    async def _remove_addresses(self) -> None:
        """Removes what no route and no draining one needs any more."""
        self._draining = {balancer: ips for balancer, ips in self._draining.items() if not balancer.idle}
        gone = self._there - self._ips.used - set().union(*self._draining.values())
        if gone:
            await self._in_worker(lambda: self._remove_present(gone))

    def _remove_present(self, addresses: set[str]) -> None:
        if self._network is not None:
            self._network.remove_addresses(addresses)
        self._there -= addresses

    async def check(self) -> None:
        await self._in_worker(self._look_after)
        for key in list(self._problems):
            await self._serve(self._routes[key])
        await self._remove_addresses()

    def _look_after(self) -> None:
        if self._network is not None:
            self._network.block()
            self._add_missing(set(self._ips.used))

    async def counters(self, keys: Collection[RouteKey]) -> Counters:
        return {
            (key, endpoint): self._balancers[key].counts.get(endpoint, 0)
            for key in keys
            if key in self._balancers
            for endpoint in self._routes[key].endpoints
        }

    async def close(self) -> None:
        for balancer in (*self._balancers.values(), *self._draining):
            await balancer.close(drain=False)
        self._balancers.clear()
        self._draining.clear()
        await self._in_worker(self._remove)
        self._worker.shutdown()

    def _remove(self) -> None:
        if self._network is not None:
            self._network.remove_all()
            self._network.close()
            self._network = None

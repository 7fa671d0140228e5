"""The userspace datapath: a frontend for each route. ClusterIPs and what else Services are reached at are addresses of this node."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

from services.proxy.datapath.node_network import NodeNetwork, read_sysctl, write_sysctl
from services.proxy.datapath.outer_addresses import OuterAddresses
from services.proxy.datapath.port import Counters, Datapath, DatapathError, Gate
from services.proxy.datapath.userspace.entry import Address, addresses
from services.proxy.datapath.userspace.frontend import Frontend
from services.proxy.datapath.userspace.limits import Limits
from services.proxy.datapath.userspace.poller import Poller
from services.proxy.datapath.userspace.tcp import TcpFrontend
from services.proxy.datapath.userspace.udp import UdpFrontend
from services.proxy.routing.table import LOCAL, AddressUses, Change, ClusterIPs, Route, RouteKey, patch
from services.proxy.settings import ProxySettings

log = logging.getLogger(__name__)

# The end of a connection holds its port for a minute; with this a new one to the same endpoint may have it after a second.
REUSE = "net.ipv4.tcp_tw_reuse"
PROTOCOLS = ("tcp", "udp")

R = TypeVar("R")


class UserspaceDatapath(Datapath):
    """Relays connections in this process. Without NET_ADMIN it serves NodePorts only."""

    name: ClassVar[str] = "userspace"

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._network: NodeNetwork | None = None
        self._outer: OuterAddresses | None = None
        self._routes: dict[RouteKey, Route] = {}
        self._frontends: dict[RouteKey, Frontend[Any]] = {}
        self._limits = Limits(settings.max_connections or None)
        self._poller: Poller | None = None
        self._forget()
        # The ClusterIPs that are addresses of lo, as far as we know; only the worker changes it.
        self._there: set[str] = set()
        # Why some are not, in words.
        self._refused: dict[str, str] = {}
        # Whether what a predecessor left is gone.
        self._settled = False
        # Removed routes whose connections go on for a while; their addresses stay so long.
        self._draining: dict[Frontend[Any], Route] = {}
        self._problems: dict[RouteKey, list[str]] = {}
        self._limitations: list[str] = []
        # What a kernel setting of ours was before.
        self._reuse_before: str | None = None

    def _forget(self) -> None:
        self._ips = ClusterIPs()
        self._outer_ips = AddressUses(lambda route: route.outer_ips)
        self._held_ips = AddressUses(lambda route: route.held_ips)

    def judge_by(self, gate: Gate) -> None:
        self._limits.gate = gate

    @property
    def limitations(self) -> tuple[str, ...]:
        return tuple(self._limitations)

    def limits_of(self, route: Route) -> tuple[str, ...]:
        found = [*self._problems.get(route.key, ())]
        if route.external_policy == LOCAL and route.reached_from_outside:
            found.append("the client's address is not kept: this node's proxy relays in userspace")
        elsewhere = self._outer.elsewhere if self._outer is not None else frozenset(route.outer_ips)
        problems = {**self._refused, **(self._outer.problems if self._outer is not None else {})}
        found += [problems[ip] for ip in route.addresses if ip in problems]
        found += [f"{ip} is not served by this node: it is not one of its addresses" for ip in route.outer_ips if ip in elsewhere]
        return tuple(found)

    @property
    def limited(self) -> Collection[RouteKey]:
        refused = self._refused
        return {
            *self._problems,
            *(key for key, route in self._routes.items() if route.outer_ips or not refused.keys().isdisjoint(route.cluster_ips)),
        }

    @property
    def held(self) -> Mapping[str, str]:
        return self._outer.held if self._outer is not None else {}

    async def start(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proxy-netlink")
        self._poller = Poller()
        self._routes.clear()
        self._forget()
        self._settled = False
        self._limitations = ["pods see this node as the source of every connection"]
        self._network = await self._in_worker(self._open)
        if self._network is None:
            self._limitations.append("without NET_ADMIN only NodePorts are served, no ClusterIPs")

    def _open(self) -> NodeNetwork | None:
        network = NodeNetwork(self._settings.ranges, self._settings.instance)
        try:
            network.block()
        except PermissionError:
            network.close()
            return None
        before = read_sysctl(REUSE)
        if before not in (None, "1") and write_sysctl(REUSE, "1"):
            self._reuse_before = before
        # What a killed proxy left goes with the first change.
        self._there = network.addresses()
        self._outer = OuterAddresses(network, self._settings.table, self._settings.pod_bridge, bind=True)
        self._outer.adopt()
        return network

    async def _in_worker(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def apply(self, change: Change) -> None:
        come, _ = self._ips.difference(change)
        outer = [used.difference(change) for used in (self._outer_ips, self._held_ips)]
        try:
            if come:
                await self._in_worker(lambda: self._add_missing(come))
            if any(added for added, _ in outer):
                # An address changes its interface when it is held: it is there again before anyone listens.
                await self._in_worker(lambda: self._want(outer[0][0], outer[1]))
        except OSError as error:
            raise DatapathError(f"addresses could not be added: {error}") from error
        for route in change.removed:
            self._withdraw(route)
        for old, new in change.updated:
            if old.protocol != new.protocol:
                self._withdraw(old)
            elif old.key in self._frontends:
                self._frontends[old.key].free(self._addresses(new))
        for route in change.after:
            await self._serve_or_tell(route)
        patch(self._routes, change)
        for used in (self._ips, self._outer_ips, self._held_ips):
            used.apply(change)
        if not self._settled or any(route.addresses for route in change.before):
            self._settled = True
            await self._remove_addresses()

    def _withdraw(self, route: Route) -> None:
        frontend = self._frontends.pop(route.key, None)
        self._problems.pop(route.key, None)
        if frontend is not None:
            frontend.withdraw()
            self._draining[frontend] = route

    async def _serve_or_tell(self, route: Route) -> None:
        """One route that cannot be served at all holds up no other; ``check`` tries it again."""
        try:
            await self._serve(route)
        except (OSError, ValueError) as error:
            log.error("a route cannot be served", extra={"route": str(route.key), "error": str(error)})
            self._problems[route.key] = [f"cannot be served: {error}"]

    async def _serve(self, route: Route) -> None:
        if route.protocol not in PROTOCOLS:
            return
        frontend = self._frontends.get(route.key)
        if frontend is None:
            frontend = self._frontends[route.key] = self._frontend(route)
        problems = await frontend.update(route, self._addresses(route))
        self._problems.pop(route.key, None)
        if problems:
            self._problems[route.key] = problems

    def _frontend(self, route: Route) -> Frontend[Any]:
        if route.protocol == "udp":
            return UdpFrontend(route, self._settings, self._limits)
        assert self._poller is not None
        return TcpFrontend(route, self._settings, self._limits, self._poller)

    def _addresses(self, route: Route) -> list[Address]:
        found = addresses(route, own_addresses=self._network is not None)
        return [address for address in found if self._outer is None or address.ip not in self._outer.elsewhere]

    def _add_missing(self, ips: set[str]) -> None:
        """One that the kernel refuses holds up no other; ``check`` tries it again."""
        refused = self._network.add_addresses(ips) if self._network is not None else {}
        new = {ip: f"{ip} could not be made an address of this node: {words}" for ip, words in refused.items()}
        if told := {ip: words for ip, words in new.items() if self._refused.get(ip) != words}:
            log.error("ClusterIPs are not served", extra={"refused": told})
        self._refused = {ip: words for ip, words in self._refused.items() if ip not in ips} | new
        self._there |= ips - refused.keys()

    def _want(self, come: set[str], held: tuple[set[str], set[str]]) -> None:
        """Wants the outer addresses that are in use before or after a change, and still by what drains."""
        if self._outer is not None:
            draining = (ip for route in self._draining.values() for ip in route.outer_ips)
            self._outer.want({*self._outer_ips.used, *come, *draining}, {*self._held_ips.used, *held[0]} - held[1])

    async def _remove_addresses(self) -> None:
        """Removes what no route and no draining one needs any more."""
        self._draining = {frontend: route for frontend, route in self._draining.items() if not frontend.idle}
        try:
            await self._in_worker(self._remove_unused)
        except OSError as error:
            log.error("addresses could not be removed", extra={"error": str(error)})

    def _remove_unused(self) -> None:
        gone = self._there - self._ips.used - {ip for route in self._draining.values() for ip in route.cluster_ips}
        if self._network is not None and gone:
            kept = self._network.remove_addresses(gone)
            if kept:
                log.error("addresses could not be removed", extra={"refused": kept})
            gone -= kept.keys()
        self._there -= gone
        self._refused = {ip: words for ip, words in self._refused.items() if ip in self._ips.used}
        self._want(set(), (set(), set()))

    async def check(self) -> None:
        await self._in_worker(self._look_after)
        elsewhere = self._outer.elsewhere if self._outer is not None else frozenset()
        for key, route in self._routes.items():
            if key in self._problems or any(ip in elsewhere for ip in route.outer_ips):
                await self._serve_or_tell(route)
        await self._remove_addresses()

    def _look_after(self) -> None:
        if self._network is not None:
            self._network.block()
            self._add_missing(set(self._ips.used))
        if self._outer is not None:
            self._outer.look_after()

    async def counters(self, keys: Collection[RouteKey]) -> Counters:
        return {
            (key, endpoint): self._frontends[key].counts.get(endpoint, 0)
            for key in keys
            if key in self._frontends
            for endpoint in {*self._routes[key].endpoints, *self._routes[key].local_endpoints}
        }

    async def close(self) -> None:
        frontends = [*self._frontends.values(), *self._draining]
        for frontend in frontends:
            frontend.stop_listening()
        await self._drained(frontends)
        for frontend in frontends:
            await frontend.close()
        self._frontends.clear()
        self._draining.clear()
        if self._poller is not None:
            self._poller.close()
            self._poller = None
        await self._in_worker(self._remove)
        self._worker.shutdown()

    async def _drained(self, frontends: list[Frontend[Any]]) -> None:
        """Lets open connections come to their end, for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.stop_seconds):
                for frontend in frontends:
                    await frontend.done()

    def _remove(self) -> None:
        if self._outer is not None:
            self._outer.remove_all()
            self._outer = None
        if self._reuse_before is not None:
            write_sysctl(REUSE, self._reuse_before)
            self._reuse_before = None
        if self._network is not None:
            self._network.remove_all()
            self._network.close()
            self._network = None

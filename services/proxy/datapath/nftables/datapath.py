"""The nftables datapath: programs our table and keeps the node's routes and settings beside it.

The whole table goes through libnftables, changes go as netlink messages of our own: their cost does not grow with the table.

Transactions are atomic in the kernel and run in a thread, one at a time. The kernel keeps open connections on their endpoint, also after
its removal, until they close.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar

from services.proxy.datapath.docker_user import DockerUser, remove_rules
from services.proxy.datapath.nftables import ruleset
from services.proxy.datapath.nftables.conntrack import Conntrack, Destinations, destinations
from services.proxy.datapath.nftables.layout import pools
from services.proxy.datapath.nftables.libnftables import Nftables, NftablesError
from services.proxy.datapath.nftables.netlink import NetlinkConnection, encode
from services.proxy.datapath.nftables.skeleton import LOCALNET_NOTE, Base, skeleton
from services.proxy.datapath.nftables.slots import Slots
from services.proxy.datapath.nftables.watcher import TableWatcher
from services.proxy.datapath.node_network import NodeNetwork, read_sysctl, write_sysctl
from services.proxy.datapath.outer_addresses import OuterAddresses
from services.proxy.datapath.port import Counters, Datapath, DatapathError
from services.proxy.routing.table import AddressUses, Change, ClusterIPs, Endpoint, Route, RouteKey, patch
from services.proxy.settings import ProxySettings

log = logging.getLogger(__name__)

ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"
FORWARDING = "net.ipv4.ip_forward"
BRIDGE_CALLS = "net.bridge.bridge-nf-call-iptables"
# A look costs a process.
CHECKS_PER_LOOK_AT_DOCKER = 10
TOO_MUCH = (errno.EMSGSIZE, errno.ENOBUFS)

R = TypeVar("R")


class NftablesDatapath(Datapath):
    """Programs the kernel. Needs NET_ADMIN and libnftables."""

    name: ClassVar[str] = "nftables"

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._routes: dict[RouteKey, Route] = {}
        self._limitations: list[str] = []
        self._restore: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._slots = Slots()
        self._forget()
        self._port = 0
        self._opened = False
        self._checks = 0
        self._programmed = False
        self._restoring: asyncio.Task[None] | None = None
        # Why the node's own processes do not reach a ClusterIP, in words.
        self._unreached: dict[str, str] = {}

    def _forget(self) -> None:
        self._ips = ClusterIPs()
        self._outer_ips = AddressUses(lambda route: route.outer_ips)
        self._held_ips = AddressUses(lambda route: route.held_ips)

    @property
    def limitations(self) -> tuple[str, ...]:
        return tuple(self._limitations)

    def limits_of(self, route: Route) -> tuple[str, ...]:
        ways = (f"this node's own processes do not reach {ip}: {self._unreached[ip]}" for ip in route.cluster_ips if ip in self._unreached)
        return (*ways, *(words for ip in route.outer_ips if (words := self._outer.problems.get(ip, ""))))

    @property
    def limited(self) -> Collection[RouteKey]:
        bad = self._unreached.keys() | self._outer.problems.keys()
        return [key for key, route in self._routes.items() if not bad.isdisjoint(route.addresses)] if bad else ()

    @property
    def held(self) -> Mapping[str, str]:
        return self._outer.held

    async def start(self) -> None:
        # One thread for the library and for netlink; neither may be used by two at once.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proxy-nftables")
        self._programmed = False
        self._routes.clear()
        self._forget()
        self._limitations.clear()
        try:
            await self._in_worker(self._open)
        except OSError as error:
            self._worker.shutdown()
            raise DatapathError(f"the nftables datapath cannot start: {error}; mend that, or use the userspace datapath") from error
        self._set(ROUTE_LOCALNET, "NodePorts are not reached through 127.0.0.1: {name} cannot be set to 1")
        self._set(FORWARDING, "pods and other machines do not reach Services: {name} cannot be set to 1")
        self._base = Base(
            self._settings.table,
            self._settings.service_cidr,
            self._settings.pod_cidr,
            self._settings.pod_bridge,
            masquerade_bridge=read_sysctl(BRIDGE_CALLS) != "1",
            localnet_was_off=ROUTE_LOCALNET in self._restore,
        )
        asyncio.get_running_loop().add_reader(self._watcher.fileno(), self._heard)

    def _open(self) -> None:
        self._network = NodeNetwork(self._settings.ranges, self._settings.instance)
        self._network.block()
        self._outer = OuterAddresses(self._network, self._settings.table, self._settings.pod_bridge, bind=False)
        self._outer.adopt()
        self._nft = Nftables()
        self._changes = NetlinkConnection()
        self._watcher = TableWatcher(self._settings.table)
        if localnet_was_off(self._nft, self._settings.table):
            self._restore[ROUTE_LOCALNET] = "0"
        self._docker_user = DockerUser(self._settings.pod_cidr, self._settings.table)
        self._opened = _forwarding_is_dropped(self._nft) and self._docker_user.ensure()
        if not self._opened and _forwarding_is_dropped(self._nft):
            self._limitations.append(
                "NodePorts may not be reached from other machines: "
                "this node's packet filter (table ip filter, chain FORWARD) drops what it does not know, "
                "and there is no chain DOCKER-USER for a rule of ours"
            )

    def _set(self, name: str, limitation: str) -> None:
        before = read_sysctl(name)
        if before == "1":
            return
        if not write_sysctl(name, "1"):
            self._limitations.append(limitation.format(name=name))
        elif before is not None and name != FORWARDING:
            self._restore[name] = before

    async def apply(self, change: Change) -> None:
        async with self._lock, self._unheard():
            try:
                await self._in_worker(lambda: self._put_in_force(change))
            except (NftablesError, OSError, ValueError, struct.error) as error:
                # The last two: what does not even fit a message to the kernel.
                self._programmed = False
                raise DatapathError(str(error)) from error
            self._programmed = True
        # Beside the change, not within it: these may come a moment later.
        self._worker.submit(self._allow_hairpin)
        if stale := destinations(change):
            self._worker.submit(self._forget_flows, stale)

    def _forget_flows(self, stale: Destinations) -> None:
        try:
            own = {address for address, _, _, _ in self._network.labelled_addresses()}
            gone = Conntrack(self._changes).forget(stale, own)
        except OSError as error:
            log.warning("UDP flows could not be looked at: some may go to removed endpoints until they end", extra={"error": str(error)})
            return
        if gone:
            log.info("UDP flows that led to removed endpoints were ended", extra={"flows": gone})

    def _allow_hairpin(self) -> None:
        try:
            self._network.allow_hairpin(self._settings.pod_bridge)
        except OSError as error:
            log.warning("bridge ports could not be set to hairpin mode", extra={"bridge": self._settings.pod_bridge, "error": str(error)})

    def _put_in_force(self, change: Change) -> None:
        come, gone = self._ips.difference(change)
        if not self._programmed:
            there, wanted = self._network.local_routes(), {*self._ips.used, *come} - gone
            come, gone = wanted - there, there - wanted
        self._reach(come)
        if self._programmed:
            self._change(change)
        else:
            self._program(change)
        patch(self._routes, change)
        self._ips.apply(change)
        self._keep_addresses(change, gone)

    def _reach(self, addresses: Set[str]) -> None:
        """Gives the node's own processes a way to ClusterIPs. One that the kernel refuses holds up no other."""
        refused = self._network.add_local_routes(addresses)
        if new := {ip: words for ip, words in refused.items() if self._unreached.get(ip) != words}:
            log.error("ClusterIPs are not reached by this node's own processes", extra={"refused": new})
        self._unreached = {ip: words for ip, words in self._unreached.items() if ip not in addresses} | refused

    def _keep_addresses(self, change: Change, gone: set[str]) -> None:
        """Puts the node's addresses in order. After the table: nothing of the node answers at an address before its Service does.

        What fails here is left to ``check``.
        """
        uses = (self._outer_ips, self._held_ips)
        changed = [any(used.difference(change)) for used in uses]
        for used in uses:
            used.apply(change)
        try:
            if refused := self._network.remove_local_routes(gone):
                log.error("routes to ClusterIPs could not be removed", extra={"refused": refused})
            self._unreached = {ip: words for ip, words in self._unreached.items() if ip not in gone}
            if any(changed) or not self._programmed:
                self._outer.want(self._outer_ips.used, self._held_ips.used)
        except OSError as error:
            log.error("addresses of Services could not be put in order", extra={"error": str(error)})

    def _program(self, change: Change) -> None:
        table = dict(self._routes)
        patch(table, change)
        routes = [table[key] for key in sorted(table)]
        self._watcher.learn_port()
        self._slots = self._built(routes) or self._replaced(routes)
        self._port = self._watcher.learn_port() or self._port

    def _built(self, routes: Sequence[Route]) -> Slots | None:
        """Builds the table where there is none of ours, which is four times as fast as to replace one; None where there is one."""
        if self._changes.has_table(self._settings.table):
            return None
        slots = Slots()
        operations = ruleset.operations(slots, Change(added=tuple(routes)), lambda name, slot: 0)
        self._nft.run(skeleton(self._base))
        try:
            self._changes.commit(encode(self._settings.table, operations))
        except OSError as error:
            if error.errno not in TOO_MUCH:
                raise
            return None
        return slots

    def _replaced(self, routes: Sequence[Route]) -> Slots:
        slots = Slots()
        self._nft.run(ruleset.full(self._base, slots, routes))
        return slots

    def _change(self, change: Change) -> None:
        operations = ruleset.operations(self._slots, change, self._count_at)
        try:
            self._changes.commit(encode(self._settings.table, operations))
        except OSError as error:
            if error.errno not in TOO_MUCH:
                raise
            # More than a socket takes at once: then it is worth the whole table.
            self._program(change)

    def _count_at(self, name: str, slot: int) -> int:
        return self._changes.count(self._settings.table, name, slot)

    @contextlib.asynccontextmanager
    async def _unheard(self) -> AsyncIterator[None]:
        """While the whole table is programmed nobody in the loop listens to the flood of news about it."""
        loop = asyncio.get_running_loop()
        deaf = not self._programmed
        if deaf:
            loop.remove_reader(self._watcher.fileno())
        try:
            yield
        finally:
            if deaf:
                loop.add_reader(self._watcher.fileno(), self._heard)

    def _heard(self) -> None:
        if self._programmed and self._watcher.taken_by_others((self._port, self._changes.port)):
            log.warning("someone changed our nftables table; restoring it", extra={"table": self._settings.table})
            self._programmed = False
            self._restoring = asyncio.create_task(self._restore_table(), name="proxy/restore")

    async def _restore_table(self) -> None:
        try:
            await self.apply(Change())
        except DatapathError as error:
            log.error("the nftables table could not be restored", extra={"error": str(error)})

    async def check(self) -> None:
        await self.apply(Change())
        async with self._lock:
            await self._in_worker(self._look_after)

    def _look_after(self) -> None:
        self._network.block()
        # Much cheaper than reading what is there.
        self._reach(self._ips.used)
        self._outer.look_after()
        self._checks += 1
        if self._opened and self._checks % CHECKS_PER_LOOK_AT_DOCKER == 0:
            self._docker_user.ensure()

    async def counters(self, keys: Collection[RouteKey]) -> Counters:
        routes = [self._routes[key] for key in keys if key in self._routes]
        standings = {pool.chain: self._slots.standings[pool.chain] for route in routes for pool in pools(route)}
        counted: dict[int, int] = {}
        for name in sorted({standing.map for standing in standings.values()}):
            # Map by map, so that a change need not wait for all of them.
            async with self._lock:
                counted.update(await self._in_worker(lambda name=name: self._changes.counts(self._settings.table, name)))  # type: ignore[misc]
        found: dict[tuple[RouteKey, Endpoint], int] = {}
        for route in routes:
            at: Counter[tuple[str, int]] = Counter()
            for pool in pools(route):
                standing = standings[pool.chain]
                at.update({place: counted.get(standing.offset + turn, 0) for turn, place in enumerate(standing.places)})
            for endpoint in {*route.endpoints, *route.local_endpoints}:
                found[route.key, endpoint] = at[endpoint.address, endpoint.port]
        return found

    async def close(self) -> None:
        if self._restoring is not None:
            await asyncio.wait([self._restoring])
        asyncio.get_running_loop().remove_reader(self._watcher.fileno())
        async with self._lock:
            await self._in_worker(self._remove)
            self._worker.shutdown()

    def _remove(self) -> None:
        remove_table(self._nft, self._settings.table)
        if self._opened:
            remove_rules(self._settings.table)
        for name, value in self._restore.items():
            write_sysctl(name, value)
        self._outer.remove_all()
        self._network.remove_all()
        self._watcher.close()
        self._nft.close()
        self._changes.close()
        self._network.close()

    async def _in_worker(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def remove_table(nft: Nftables, table: str) -> None:
    """Removes our table, if it is there."""
    nft.run(f"table ip {table} {{}}\ndelete table ip {table}\n")


def localnet_was_off(nft: Nftables, table: str) -> bool:
    """Whether a proxy noted in its table that it switched ``route_localnet`` on."""
    try:
        nft.run(f"list counter ip {table} {LOCALNET_NOTE}")
    except NftablesError:
        return False
    return True


def _forwarding_is_dropped(nft: Nftables) -> bool:
    try:
        listed = nft.read("list chain ip filter FORWARD")
    except NftablesError:
        return False
    return any(entry.get("chain", {}).get("policy") == "drop" for entry in listed)

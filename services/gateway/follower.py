"""Follows Ingresses and what they refer to, and keeps the program as they say.

Changes are gathered for a moment and taken together: objects that changed are compiled again, Services whose endpoints changed get new
servers, and the executor puts in force what came of it. Nothing but Ingresses and their classes is followed until there is one to serve.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.objects.keys import key_of
from services.gateway.compiler import Compiler
from services.gateway.executor import Executor, Kind
from services.gateway.gateway_api import GatewayApi
from services.gateway.keyring import Keyring
from services.gateway.problems import Problems
from services.gateway.references import References
from services.gateway.rest import Rest, class_of
from services.gateway.routing.table import Origin
from services.gateway.secrets import Secrets
from services.gateway.services import Services
from services.gateway.settings import HTTP_PORT, HTTPS_PORT, GatewaySettings
from services.gateway.sources.compiled import Compiled, Keypair, Name
from services.gateway.sources.gateway_api.listeners import HTTP as HTTP_LISTENER
from services.gateway.sources.gateway_api.listeners import HTTPS as HTTPS_LISTENER
from services.gateway.sources.gateway_api.listeners import TLS as TLS_LISTENER
from services.gateway.sources.gateway_api.objects import GATEWAY, Facts
from services.gateway.sources.ingress import origin_of

log = logging.getLogger(__name__)

# After the first of several changes, and at most where taking them takes long itself.
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.01, 0.05
DELAY_PER_WORK = 2.0
# How many objects are compiled before others get a turn.
TURN = 50
PROTOCOLS = {HTTP_LISTENER: Kind.PLAIN, HTTPS_LISTENER: Kind.TLS, TLS_LISTENER: Kind.PASSED}


class Follower:
    """``settled`` is told of objects whose routes are in force, or are no more, after each change. ``served`` is what each came to."""

    def __init__(
        self,
        client: Client,
        settings: GatewaySettings,
        rest: Rest,
        executor: Executor,
        clock: Clock,
        settled: Callable[[set[Origin]], None],
    ) -> None:
        self._rest, self._executor, self._settled = rest, executor, settled
        self.services = Services(client, settings.resolve_seconds, self._service_changed, self._endpoints_moved)
        self.secrets = Secrets(client, self._secret_changed)
        facts = Facts(services=self.services.get, secrets=self.secrets.get)
        self.gateway_api = GatewayApi(client, self.touch, facts, rest.definition, define=settings.gateway_api, apart=settings.apart)
        self._compiler = Compiler(rest, self.gateway_api, self.services, self.secrets, settings.https_port)
        self._keyring = Keyring(self.secrets.get, clock)
        self._problems = Problems(executor, self.services, self._keyring)
        self._references = References()
        self.served: dict[Origin, Compiled] = {}
        self._dirty: set[Origin] = set()
        self._moved: set[Name] = set()
        self._news = asyncio.Event()
        self._since: float | None = None
        self._delay = FIRST_DELAY_SECONDS
        self._group: asyncio.TaskGroup | None = None
        self._serving = False
        # Whether everything that is there has been taken once.
        self.synced = False

    async def run(self) -> None:
        """Follows until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self.gateway_api.run(), name="gateway/gateway-api")
            await self._rest.wait_synced()
            self._rest.classes.on_change(self._class_changed)
            self._rest.ingresses.on_change(self._ingress_changed)
            try:
                await self._follow()
            finally:
                await self.secrets.close()

    async def _follow(self) -> None:
        while True:
            if not self._dirty and not self._moved:
                if not self.synced:
                    self.synced = True
                    self._settled(set())
                await self._news.wait()
            await asyncio.sleep(self._delay)
            self._news.clear()
            began = time.perf_counter()
            try:
                await self._take()
            except Exception:
                # What came of it is kept; the next change is taken as ever.
                log.exception("a change could not be taken")
            self._delay = min(max(FIRST_DELAY_SECONDS, (time.perf_counter() - began) * DELAY_PER_WORK), LONGEST_DELAY_SECONDS)

    def touch(self, origins: Iterable[Origin]) -> None:
        """Looks at objects again."""
        self._dirty.update(origins)
        self._wake()

    def problems(self, origin: Origin) -> list[tuple[str, str]]:
        """What of an object is not done: reasons and words."""
        compiled = self.served.get(origin)
        return self._problems.of(origin, compiled) if compiled is not None else []

    def _wake(self) -> None:
        if self._since is None:
            self._since = time.monotonic()
        self._news.set()

    def _class_changed(self, old: networking.IngressClass | None, new: networking.IngressClass | None) -> None:
        """Those that name it may be ours by now, or no more."""
        name = key_of(new if new is not None else old).name  # type: ignore[arg-type]
        self.touch(origin_of(ingress) for ingress in self._rest.ingresses.store.list() if class_of(ingress) == name)

    def _ingress_changed(self, old: networking.Ingress | None, new: networking.Ingress | None) -> None:
        found = new if new is not None else old
        if found is None or (old is not None and new is not None and _same(old, new)):
            return
        origin = origin_of(found)
        if origin in self.served or (new is not None and self._rest.is_ours(new)):
            self.touch([origin])

    def _service_changed(self, name: Name) -> None:
        if origins := self._references.of_service(name):
            self._moved.add(name)
            self.touch(origins)

    def _endpoints_moved(self, name: Name) -> None:
        if self._references.of_service(name):
            self._moved.add(name)
            self._wake()

    def _secret_changed(self, name: Name) -> None:
        self.touch(self._references.of_secret(name))

    async def _take(self) -> None:
        since, self._since = self._since, None
        dirty, self._dirty = self._dirty, set()
        if dirty:
            await self._ready_to_serve()
        await self._look(dirty)
        if await self._follow_secrets():
            # What had to be read first is there now.
            dirty |= self._dirty
            again, self._dirty = self._dirty, set()
            await self._look(again)
        moved, self._moved = self._moved, set()
        self._look_at_endpoints(moved)
        ports = self._ports()
        self._executor.ports(ports)
        if dirty:
            # Each is read anew, which endpoints that come and go need not wait for: a Secret that changed has its objects looked at.
            self._put_certificates(port for port, kind in ports.items() if kind is Kind.TLS)
        await self._executor.apply(since)
        self._settled(dirty)

    async def _ready_to_serve(self) -> None:
        """Follows Services and endpoints from the first object that is served: before anybody refers to them, what is heard of
        them is no news."""
        if self._group is None or self._serving:
            return
        if not self.gateway_api.serves and not any(self._rest.is_ours(ingress) for ingress in self._rest.ingresses.store.list()):
            return
        self._serving = True
        await self.services.begin(self._group)

    async def _look(self, origins: Iterable[Origin]) -> None:
        origins = set(origins)
        gateways = {origin for origin in origins if origin.kind == GATEWAY}
        if gateways:
            self.gateway_api.look_at_gateways(self._executor.closed)
            # Whoever has a route may be attached otherwise by now.
            origins.update(self.gateway_api.origins())
        for number, origin in enumerate(sorted(origins), start=1):
            self._look_at(origin)
            if number % TURN == 0:
                await asyncio.sleep(0)

    def _look_at(self, origin: Origin) -> None:
        compiled = self._compiler.compile(origin)
        self._references.put(origin, compiled)
        self._executor.program.put(origin, compiled.routes if compiled is not None else ())
        if compiled is None:
            self.served.pop(origin, None)
        else:
            self.served[origin] = compiled

    def _look_at_endpoints(self, moved: set[Name]) -> None:
        """Of Services that moved, and of those that are new."""
        program = self._executor.program
        for target in (*program.newly_wanted(), *(target for name in moved for target in program.targets_of(*name))):
            program.put_endpoints(target, self.services.servers(target))

    async def _follow_secrets(self) -> bool:
        """True when there are some that were not known before."""
        wanted = set(self._references.secrets)
        new = any(not self.secrets.knows(name) for name in wanted)
        await self.secrets.follow(wanted)
        return new

    def _ports(self) -> dict[int, Kind]:
        found = {HTTP_PORT: Kind.PLAIN, HTTPS_PORT: Kind.TLS} if any(origin.kind == "Ingress" for origin in self.served) else {}
        for port, protocol in self.gateway_api.protocols.items():
            found.setdefault(port, PROTOCOLS[protocol])
        return found

    def _put_certificates(self, ports: Iterable[int]) -> None:
        pairs: defaultdict[int, list[Keypair]] = defaultdict(list)
        for compiled in self.served.values():
            pairs[HTTPS_PORT].extend(compiled.keypairs)
        for listeners in self.gateway_api.listeners.values():
            for each in listeners:
                pairs[each.entry].extend(each.keypairs if each.served else ())
        for port in ports:
            self._executor.program.put_certificates(port, self._keyring.certificates(pairs[port]))


def _same(old: networking.Ingress, new: networking.Ingress) -> bool:
    return old.spec == new.spec and old.metadata.annotations == new.metadata.annotations and old.metadata.uid == new.metadata.uid

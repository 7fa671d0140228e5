"""Follows Ingresses and what they refer to, and keeps the program as they say.

Changes are gathered for a moment and taken together: objects that changed are compiled again, Services whose endpoints changed
get new servers,
and the executor puts in force what came of it. Nothing but Ingresses and their classes is followed until there is one to serve.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.index import Index
from knarr.client.informer import Informer
from knarr.objects.keys import key_of
from knarr.objects.labels import SERVICE_NAME
from services.gateway.executor import Executor, Kind
from services.gateway.gateway_api import GatewayApi
from services.gateway.haproxy.certificates import Certificate
from services.gateway.haproxy.words import BadWord, host
from services.gateway.names import Names
from services.gateway.rest import Rest, class_of
from services.gateway.routing.actions import HTTP, Action, Server, Target
from services.gateway.routing.table import Origin, Route
from services.gateway.secrets import Secrets
from services.gateway.settings import HTTP_PORT, HTTPS_PORT, GatewaySettings
from services.gateway.sources import backends
from services.gateway.sources.gateway_api.listeners import HTTP as HTTP_LISTENER
from services.gateway.sources.gateway_api.listeners import HTTPS as HTTPS_LISTENER
from services.gateway.sources.gateway_api.listeners import TLS as TLS_LISTENER
from services.gateway.sources.gateway_api.objects import GATEWAY, ROUTES, Facts
from services.gateway.sources.ingress import Compiled, Keypair, compile_ingress
from services.gateway.sources.keypairs import BadKeypair, own_pem, pem_of

log = logging.getLogger(__name__)

# After the first of several changes, and at most where taking them takes long itself.
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.01, 0.05
DELAY_PER_WORK = 2.0
# How many objects are compiled before others get a turn.
TURN = 50
SOURCE_SELF = "the gateway's own"
PROTOCOLS = {HTTP_LISTENER: Kind.PLAIN, HTTPS_LISTENER: Kind.TLS, TLS_LISTENER: Kind.PASSED}

Name = tuple[str, str]


def _service_of(piece: discovery.EndpointSlice) -> Name:
    return piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME, "")


BY_SERVICE: Index[discovery.EndpointSlice] = Index("service", lambda piece: ["/".join(_service_of(piece))])


@dataclass(slots=True)
class Served:
    """An object that is served, and what came of it. ``problems`` are told in events: reason and words."""

    compiled: Compiled
    services: set[Name] = field(default_factory=set)
    problems: tuple[tuple[str, str], ...] = ()


class Follower:
    """``settled`` is told of objects whose routes are in force, or are no more, after each change."""

    def __init__(
        self,
        client: Client,
        settings: GatewaySettings,
        rest: Rest,
        executor: Executor,
        clock: Clock,
        settled: Callable[[set[Origin]], None],
    ) -> None:
        self._client, self._settings, self._executor, self._clock, self._settled = client, settings, executor, clock, settled
        self._rest, self.ingresses, self.classes = rest, rest.ingresses, rest.classes
        self.services = Informer(client, core.Service)
        self.slices = Informer(client, discovery.EndpointSlice)
        self.slices.add_index(BY_SERVICE)
        self.secrets = Secrets(client, self._secret_changed)
        facts = Facts(services=lambda namespace, name: self.services.store.get(namespace, name), secrets=self.secrets.get)
        self.gateway_api = GatewayApi(client, self.touch, facts, rest.definition, define=settings.gateway_api)
        self.names = Names(settings.resolve_seconds, self._name_changed)
        self.served: dict[Origin, Served] = {}
        self._by_service: defaultdict[Name, set[Origin]] = defaultdict(set)
        self._by_secret: defaultdict[Name, set[Origin]] = defaultdict(set)
        self._dirty: set[Origin] = set()
        self._moved: set[Name] = set()
        self._tell: set[Origin] = set()
        self._news = asyncio.Event()
        self._since: float | None = None
        self._delay = FIRST_DELAY_SECONDS
        self._own_pem = ""
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
            self.classes.on_change(self._class_changed)
            self.ingresses.on_change(self._ingress_changed)
            try:
                await self._follow()
            finally:
                await self.secrets.close()

    async def _follow(self) -> None:
        while True:
            if not self._dirty and not self._moved:
                self.synced = True
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

    def touch_all(self) -> None:
        self.touch(list(self.served))

    def _wake(self) -> None:
        if self._since is None:
            self._since = time.monotonic()
        self._news.set()

    def _class_changed(self, old: networking.IngressClass | None, new: networking.IngressClass | None) -> None:
        """Those that name it may be ours by now, or no more."""
        name = key_of(new if new is not None else old).name  # type: ignore[arg-type]
        self.touch(_origin(ingress) for ingress in self.ingresses.store.list() if class_of(ingress) == name)

    def _ingress_changed(self, old: networking.Ingress | None, new: networking.Ingress | None) -> None:
        found = new if new is not None else old
        if found is None or (old is not None and new is not None and _same(old, new)):
            return
        origin = _origin(found)
        if origin in self.served or (new is not None and self._rest.is_ours(new)):
            self.touch([origin])

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        found = new if new is not None else old
        if found is not None and (name := (found.metadata.namespace, found.metadata.name)) in self._by_service:
            self._moved.add(name)
            self.touch(self._by_service[name])

    def _slice_changed(self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None) -> None:
        for piece in (old, new):
            if piece is not None and (name := _service_of(piece)) in self._by_service:
                self._moved.add(name)
                self._wake()

    def _secret_changed(self, name: Name) -> None:
        self.touch(self._by_secret.get(name, ()))

    def _name_changed(self, name: str) -> None:
        for service in self.services.store.list():
            if service.spec.external_name == name:
                self._service_changed(service, service)

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
        self._executor.ports(self._ports())
        if dirty:
            # Each is read anew, which endpoints that come and go need not wait for: a Secret that changed has its objects looked at.
            self._put_certificates()
        await self._executor.apply(since)
        self._settled(dirty)

    def _look_at_endpoints(self, moved: set[Name]) -> None:
        """Of Services that moved, and of those that are new."""
        program = self._executor.program
        for target in program.newly_wanted():
            program.put_endpoints(target, self._servers(target))
        for name in moved:
            for target in program.targets_of(*name):
                program.put_endpoints(target, self._servers(target))

    async def _ready_to_serve(self) -> None:
        """Follows Services and endpoints from the first object that is served."""
        if self._group is None or self._serving:
            return
        if not self.gateway_api.serves and not any(self._rest.is_ours(ingress) for ingress in self.ingresses.store.list()):
            return
        self._serving = True
        self._group.create_task(self.services.run(), name="gateway/services")
        self._group.create_task(self.slices.run(), name="gateway/slices")
        self._group.create_task(self.names.run(), name="gateway/names")
        # Before anybody refers to them, what is heard of them is no news.
        self.services.on_change(self._service_changed)
        self.slices.on_change(self._slice_changed)
        await self.services.wait_synced()
        await self.slices.wait_synced()

    async def _look(self, origins: Iterable[Origin]) -> None:
        origins = set(origins)
        if any(origin.kind == GATEWAY for origin in origins):
            # Whoever has a route may be attached otherwise by now.
            origins.update(self.gateway_api.origins())
            self._look_at_gateways(origins)
        for number, origin in enumerate(sorted(origins), start=1):
            self._look_at(origin)
            if number % TURN == 0:
                await asyncio.sleep(0)

    def _look_at_gateways(self, origins: set[Origin]) -> None:
        self.gateway_api.look_at_gateways(self._executor.closed)
        for origin in [each for each in origins if each.kind == GATEWAY]:
            self._forget(origin)
            listeners = self.gateway_api.listeners.get(origin)
            if listeners is None:
                self.served.pop(origin, None)
                continue
            compiled = Compiled(secrets=[name for each in listeners for name in each.secrets])
            self.served[origin] = Served(compiled)
            for secret in compiled.secrets:
                self._by_secret[secret].add(origin)

    def _look_at_route(self, origin: Origin) -> None:
        self._forget(origin)
        told = self.gateway_api.compile(origin)
        if told is None:
            self._executor.program.put(origin, ())
            self.served.pop(origin, None)
            return
        routes = [replace(route, action=self._finished(route.action)) for route in told.routes]
        self.served[origin] = Served(Compiled(routes=routes), told.services)
        for service in told.services:
            self._by_service[service].add(origin)
        self._executor.program.put(origin, routes)

    def _look_at(self, origin: Origin) -> None:
        if origin.kind == GATEWAY:
            return
        if origin.kind in ROUTES:
            self._look_at_route(origin)
            return
        self._forget(origin)
        ingress = self.ingresses.store.get(origin.namespace, origin.name)
        if ingress is None or not self._rest.is_ours(ingress):
            self._executor.program.put(origin, ())
            self.served.pop(origin, None)
            return
        compiled = compile_ingress(ingress, self.secrets.get, self._settings.https_port)
        routes = [replace(route, action=self._finished(route.action)) for route in compiled.routes]
        served = Served(compiled, {_name(target) for route in routes for target in _targets(route)})
        self.served[origin] = served
        for service in served.services:
            self._by_service[service].add(origin)
        for secret in self._secrets_of(compiled):
            self._by_secret[secret].add(origin)
        self._executor.program.put(origin, routes)

    def _forget(self, origin: Origin) -> None:
        served = self.served.get(origin)
        if served is None:
            return
        for index, names in ((self._by_service, served.services), (self._by_secret, self._secrets_of(served.compiled))):
            for name in names:
                index[name].discard(origin)
                if not index[name]:
                    del index[name]

    def _secrets_of(self, compiled: Compiled) -> set[Name]:
        return {*compiled.secrets, *((pair.namespace, pair.secret) for pair in compiled.keypairs)}

    def _finished(self, action: Action) -> Action:
        """With what its Service says of how it is spoken to."""
        targets = [share.target for share in action.targets if share.target is not None]
        if not targets:
            return action
        service = self.services.store.get(targets[0].namespace, targets[0].service)
        options = action.options
        if options.protocol == HTTP and (said := backends.protocol_of(service, targets[0])):
            options = replace(options, protocol=said)
        if not options.cookie and (seconds := backends.affinity_seconds(service)):
            options = replace(options, affinity_seconds=seconds)
        return replace(action, options=options) if options is not action.options else action

    def _servers(self, target: Target) -> tuple[Server, ...]:
        service = self.services.store.get(target.namespace, target.service)
        if service is not None and service.spec.type == backends.EXTERNAL:
            number = int(target.port) if target.port.isdigit() else 0
            return tuple(Server(address, number) for address in self.names.addresses(service.spec.external_name)) if number else ()
        slices = self.slices.store.index(BY_SERVICE, f"{target.namespace}/{target.service}")
        return backends.servers_of(service, slices, target)

    async def _follow_secrets(self) -> bool:
        """True when there are some that were not known before."""
        wanted = set(self._by_secret)
        new = any(not self.secrets.knows(name) for name in wanted)
        await self.secrets.follow(wanted)
        return new

    def _ports(self) -> dict[int, Kind]:
        found = {HTTP_PORT: Kind.PLAIN, HTTPS_PORT: Kind.TLS} if any(origin.kind == "Ingress" for origin in self.served) else {}
        for port, protocol in self.gateway_api.protocols.items():
            found.setdefault(port, PROTOCOLS[protocol])
        return found

    def _put_certificates(self) -> None:
        ports = [port for port, kind in self._ports().items() if kind is Kind.TLS]
        if not ports:
            return
        self._own_pem = self._own_pem or own_pem(self._clock.now())
        pairs: dict[int, list[Keypair]] = {port: [] for port in ports}
        for served in self.served.values():
            pairs.setdefault(HTTPS_PORT, []).extend(served.compiled.keypairs)
        for listeners in self.gateway_api.listeners.values():
            for each in listeners:
                pairs.setdefault(each.port, []).extend(each.keypairs if each.served else ())
        for port in ports:
            made = [found for pair in pairs[port] if (found := self._certificate(pair)) is not None]
            self._executor.program.put_certificates(port, [Certificate(SOURCE_SELF, self._own_pem), *made])

    def _certificate(self, pair: Keypair) -> Certificate | None:
        secret = self.secrets.get(pair.namespace, pair.secret)
        if secret is None:
            return None
        try:
            return Certificate(f"{pair.namespace}/{pair.secret}", pem_of(secret), tuple(host(name) for name in pair.hosts))
        except (BadKeypair, BadWord):
            return None

    def problems(self, origin: Origin) -> list[tuple[str, str]]:
        """What of an object is not done: reasons and words."""
        served, program = self.served.get(origin), self._executor.program
        if served is None:
            return []
        found = [("NotHonoured", words) for words in served.compiled.problems]
        if origin in program.refused:
            found.append(("Rejected", f"none of its routes is in force: {program.refused[origin]}"))
        for route, other in program.table.shadowed(origin):
            found.append(
                (
                    "Conflict",
                    f"{route.place} ({route.host or 'any host'}{route.match.path or '/'}) is {other.origin}'s already, which is older",
                )
            )
        targets = dict.fromkeys(target for route in program.table.routes(origin) for target in _targets(route))
        for target in targets:
            if words := backends.problem_of(self.services.store.get(target.namespace, target.service), target):
                found.append(("BackendNotFound", f"{words}: it is answered 503"))
        found += [("BadCertificate", words) for pair in served.compiled.keypairs if (words := self._bad(pair))]
        found += [("NotServed", words) for words in self._executor.closed.values()]
        if self._executor.problem:
            found.append(("NotServed", self._executor.problem))
        return list(dict.fromkeys(found))

    def _bad(self, pair: Keypair) -> str:
        named = f"the Secret {pair.namespace}/{pair.secret}"
        secret = self.secrets.get(pair.namespace, pair.secret)
        if secret is None:
            return f"there is no {named.removeprefix('the ')}: a self-made certificate is shown"
        try:
            pem_of(secret)
        except BadKeypair as error:
            return f"{named} {error}: a self-made certificate is shown"
        return ""


def _origin(ingress: networking.Ingress) -> Origin:
    return Origin("Ingress", ingress.metadata.namespace, ingress.metadata.name)


def _same(old: networking.Ingress, new: networking.Ingress) -> bool:
    return old.spec == new.spec and old.metadata.annotations == new.metadata.annotations and old.metadata.uid == new.metadata.uid


def _targets(route: Route) -> list[Target]:
    return [share.target for share in route.action.targets if share.target is not None]


def _name(target: Target) -> Name:
    return target.namespace, target.service

"""What HAProxy is to do, and how it gets there from what it does: at run time where it can, else by a new configuration. Pure.

Maps, servers and certificates change at run time. Backends cannot be made then, so there are always some more than are needed: most actions
lead to one Service and do nothing else, and take one of those. Everything else (a port, an action of its own kind, a condition) makes a new
configuration, to which a new process changes over while the old one ends its requests.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from services.gateway.haproxy import limits, mirrors
from services.gateway.haproxy.backends import Placed, lines_of, servers_of, users_of
from services.gateway.haproxy.certificates import Certificate, Shelf
from services.gateway.haproxy.frontends import Bind, Entries, entries_of, frontend, match_words, stage
from services.gateway.haproxy.words import BadWord
from services.gateway.routing.actions import Action, Server, Target
from services.gateway.routing.table import Host, HostRoutes, Origin, Route, Table, entry_of, host_of, passed

# Backends beside those in use: some, and a part of them.
SPARE, SPARE_PART = 32, 4
CONFIGURATION = "haproxy.cfg"
# As much of a map as goes in one command, bytes.
COMMAND_BYTES = 12_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process may use: threads, connections, and how long one that is replaced may go on with its requests, seconds; and whether
    it has Lua."""

    threads: int = 2
    connections: int = 20_000
    leave_seconds: int = 3600
    lua: bool = True


@dataclass(frozen=True, slots=True)
class Reload:
    """Files by their names, the configuration among them; all others are of no use any more."""

    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Runtime:
    """Commands for the running process, each with its payload's lines, in their order."""

    commands: tuple[str, ...]


@dataclass(slots=True)
class _Backends:
    """Which backend an action has. Names are ``p…`` for plain ones, ``a…`` for others; ``c…`` stands for a choice between some."""

    names: dict[Action, str] = field(default_factory=dict)
    uses: Counter[Action] = field(default_factory=Counter)
    free: list[int] = field(default_factory=list)
    plain: int = 0
    made: int = 0


class Program:
    """``put`` what changed, then ``change`` says what is to be done. ``refused`` has what could not be taken, in words, by its object."""

    def __init__(self, limits: Limits, binds: Iterable[Bind] = ()) -> None:
        self.table = Table()
        self.refused: dict[Origin, str] = {}
        self.endpoints: dict[Target, tuple[Server, ...]] = {}
        self._limits = limits
        self._binds = {bind.port: bind for bind in binds}
        self._shelf = Shelf()
        self._entries: dict[Host, Entries] = {}
        self._acting: dict[Host, list[Action]] = {}
        self._backends = _Backends()
        # What frontends look for: port, kind of host, and its name where it has lines of its own.
        self._kinds: set[tuple[int, str, str]] = set()
        # By map: what is in force, and what is to be.
        self._maps: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._news: dict[tuple[str, str], str | None] = {}
        # By backend: servers in force, and those that only end their requests.
        self._servers: dict[str, dict[str, Placed]] = {}
        self._leaving: set[tuple[str, str]] = set()
        self._of_target: defaultdict[Target, set[Action]] = defaultdict(set)
        self._by_service: defaultdict[tuple[str, str], set[Target]] = defaultdict(set)
        self._newly_wanted: set[Target] = set()
        self._moved: set[Action] = set()
        self._emptied: set[str] = set()
        self._stale = True

    @property
    def targets(self) -> set[Target]:
        """Ports of Services that routes lead to."""
        return {target for target, actions in self._of_target.items() if actions}

    def newly_wanted(self) -> set[Target]:
        """Those of ``targets`` that were not among them when this was asked last: their endpoints are to be put."""
        found, self._newly_wanted = self._newly_wanted, set()
        return {target for target in found if target in self._of_target}

    def targets_of(self, namespace: str, service: str) -> list[Target]:
        """Those of one Service."""
        return [target for target in self._by_service.get((namespace, service), ()) if target in self._of_target]

    @property
    def leaving(self) -> list[tuple[str, str]]:
        """Servers without new requests, by backend and name: they can be deleted once their last request has ended."""
        return sorted(self._leaving)

    def left(self, backend: str, server: str) -> None:
        self._leaving.discard((backend, server))

    def restart(self) -> None:
        """What is in force is not known: the next change is a whole configuration."""
        self._stale = True

    def bind(self, binds: Iterable[Bind]) -> None:
        wanted = {bind.port: bind for bind in binds}
        # With the last one the process ends, and with it what is in force.
        if wanted != self._binds:
            self._binds, self._stale = wanted, True

    def put(self, origin: Origin, routes: Iterable[Route]) -> None:
        """Takes an object's routes. Those that cannot be written are refused, with all of that object's."""
        self.refused.pop(origin, None)
        routes = tuple(routes)
        try:
            _try(routes, lua=self._limits.lua)
        except BadWord as error:
            self.refused[origin] = str(error)
            routes = ()
        for host in self.table.put(origin, routes):
            self._look(host)

    def put_endpoints(self, target: Target, servers: tuple[Server, ...]) -> None:
        if self.endpoints.get(target, ()) == servers:
            return
        if servers:
            self.endpoints[target] = servers
        else:
            self.endpoints.pop(target, None)
        self._moved |= self._of_target.get(target, set())

    def put_certificates(self, port: int, certificates: Iterable[Certificate]) -> None:
        """All of a port; the first one is shown to who asks for no name that another has."""
        self._shelf.put(port, certificates)

    def _look(self, host: Host) -> None:
        """Takes a host into the maps as its routes are now."""
        before, acted = self._entries.pop(host, Entries()), self._acting.pop(host, [])
        after = Entries()
        if host in self.table.hosts:
            acting: list[Action] = []

            def backend(action: Action) -> str:
                acting.append(action)
                return self._acquire(action)

            after = entries_of(host, self.table.hosts[host], backend)
            self._entries[host], self._acting[host] = after, acting
            kind = (host.port, stage(host), host.name if host.deep else "")
            self._stale |= kind not in self._kinds
        for action in acted:
            self._release(action)
        self._stale |= before.rules != after.rules
        # What is passed on is in the configuration itself.
        bind = self._binds.get(host.port)
        self._stale |= bind is not None and bind.passed and before != after
        for name, old, new in ((f"e{host.port}.map", before.exact, after.exact), (f"p{host.port}.map", before.prefix, after.prefix)):
            self._news.update({(name, key): None for key in old.keys() - new.keys()})
            self._news.update({(name, key): value for key, value in new.items() if old.get(key) != value})

    def _acquire(self, action: Action) -> str:
        own = self._backends
        own.uses[action] += 1
        if action in own.names:
            return own.names[action]
        if not action.plain:
            own.made += 1
            own.names[action] = f"{'c' if action.choices else 'a'}{own.made}"
            self._stale = True
        else:
            if not own.free:
                more = SPARE + own.plain // SPARE_PART
                own.free += range(own.plain, own.plain + more)
                own.plain += more
                self._stale = True
            own.names[action] = f"p{heapq.heappop(own.free)}"
        for share in action.targets:
            if share.target is not None:
                self._want(share.target, action)
        for each in _others(action):
            self._acquire(each)
        self._moved.add(action)
        return own.names[action]

    def _release(self, action: Action) -> None:
        own = self._backends
        own.uses[action] -= 1
        if own.uses[action] > 0:
            return
        del own.uses[action]
        name = own.names.pop(action)
        for share in action.targets:
            if share.target is not None:
                self._of_target[share.target].discard(action)
                if not self._of_target[share.target]:
                    self._unwant(share.target)
        for each in _others(action):
            self._release(each)
        self._moved.discard(action)
        # One of another kind leads nowhere until the next configuration leaves it out.
        if name.startswith("p"):
            heapq.heappush(own.free, int(name[1:]))
        self._emptied.add(name)

    def _want(self, target: Target, action: Action) -> None:
        if target not in self._of_target:
            self._newly_wanted.add(target)
            self._by_service[target.namespace, target.service].add(target)
        self._of_target[target].add(action)

    def _unwant(self, target: Target) -> None:
        del self._of_target[target]
        self.endpoints.pop(target, None)
        targets = self._by_service[target.namespace, target.service]
        targets.discard(target)
        if not targets:
            del self._by_service[target.namespace, target.service]

    def change(self) -> Reload | Runtime | None:
        """What is to be done to what ``change`` said before; None: nothing."""
        if self._stale or self._shelf.unwritable:
            return self._reload()
        commands = [*self._server_commands(), *self._shelf.commands(), *self._map_commands()]
        return Runtime(tuple(commands)) if commands else None

    def _server_commands(self) -> Iterator[str]:
        """New servers first, so that no backend is without one meanwhile."""
        wanted: dict[str, dict[str, Placed]] = {name: {} for name in self._emptied}
        self._emptied = set()
        wanted |= {self._backends.names[action]: servers_of(action, self.endpoints) for action in self._moved}
        with_cookies = {self._backends.names[action] for action in self._moved if action.options.cookie is not None}
        self._moved = set()
        for backend, servers in wanted.items():
            found = self._servers.get(backend, {})
            for name, placed in servers.items():
                yield from self._placed(backend, name, placed, found.get(name), cookies=backend in with_cookies)
            for name in found.keys() - servers.keys():
                yield f"set server {backend}/{name} state maint"
                self._leaving.add((backend, name))
            self._servers[backend] = servers

    def _placed(self, backend: str, name: str, placed: Placed, found: Placed | None, *, cookies: bool) -> Iterator[str]:
        here = f"{backend}/{name}"
        if found is not None:
            if found.weight != placed.weight:
                yield f"set server {here} weight {placed.weight}"
            return
        if (backend, name) in self._leaving:
            # Whatever it was, it is spoken to as this backend's are.
            self._leaving.discard((backend, name))
            yield f"set server {here} weight {placed.weight}"
            yield f"set server {here} state ready"
            return
        yield f"add server {here} {placed.words}"
        if cookies:
            # One that comes while it runs has none before.
            yield f"enable dynamic-cookie backend {backend}"
        yield f"enable server {here}"

    def _map_commands(self) -> Iterator[str]:
        added: defaultdict[str, list[str]] = defaultdict(list)
        news, self._news = self._news, {}
        for (name, key), value in sorted(news.items(), key=lambda item: item[0]):
            found = self._maps[name]
            if value is None:
                if found.pop(key, None) is not None:
                    yield f"del map {name} {escaped(key)}"
            elif key in found:
                if found[key] != value:
                    yield f"set map {name} {escaped(key)} {value}"
                found[key] = value
            else:
                found[key] = value
                added[name].append(f"{key} {value}")
        for name, lines in added.items():
            for part in _parts(lines):
                yield f"add map {name} <<\n" + "\n".join(part) + "\n"

    def _reload(self) -> Reload:
        """Everything as it is to be, which from then on counts as what is in force."""
        self._stale = False
        self._news, self._moved, self._emptied, self._leaving = {}, set(), set(), set()
        self._maps.clear()
        self._kinds = {(host.port, stage(host), host.name if host.deep else "") for host in self._entries}
        for port in self._binds:
            self._maps[f"e{port}.map"], self._maps[f"p{port}.map"] = {}, {}
        for host, entries in self._entries.items():
            self._maps[f"e{host.port}.map"] |= entries.exact
            self._maps[f"p{host.port}.map"] |= entries.prefix
        self._servers = {name: servers_of(action, self.endpoints) for action, name in self._backends.names.items()}
        files = {name: "".join(f"{key} {value}\n" for key, value in found.items()) for name, found in self._maps.items()}
        files |= self._shelf.files({port for port, bind in self._binds.items() if bind.tls})
        if self._mirrors:
            files[mirrors.SCRIPT] = mirrors.script()
        if self._limited:
            files |= limits.files()
        return Reload({**files, CONFIGURATION: "\n".join(self._configuration()) + "\n"})

    def _choices(self) -> dict[str, list[tuple[int, str]]]:
        """Weights and backends by the name that stands for them in maps."""
        names = self._backends.names
        return {name: [(weight, names[each]) for weight, each in action.choices] for action, name in names.items() if action.choices}

    @property
    def _mirrors(self) -> bool:
        """Whether any action has one."""
        return any(action.mirrors for action in self._backends.names)

    @property
    def _limited(self) -> bool:
        """Whether any action counts bodies."""
        return self._limits.lua and any(action.options.body_bytes for action in self._backends.names)

    def _configuration(self) -> Iterator[str]:
        yield from head(self._limits, mirrored=self._mirrors, limited=self._limited)
        logins = {action.options.login for action in self._backends.names if action.options.login is not None}
        for lines in sorted({tuple(users_of(login)) for login in logins}):
            yield from lines
        if self._mirrors:
            yield from mirrors.frontend()
        choices = self._choices()
        for port, bind in sorted(self._binds.items()):
            entries = {host: entries for host, entries in self._entries.items() if host.port == port}
            shared = (passed(port) if bind.tls else entry_of(port)) in self._binds and (bind.tls or bind.passed)
            yield from frontend(bind, entries, choices, shared=shared)
        of_plain = {name: action for action, name in self._backends.names.items()}
        for number in range(self._backends.plain):
            yield from self._backend(f"p{number}", of_plain.get(f"p{number}"))
        for name, action in sorted(of_plain.items()):
            if not name.startswith("p") and not action.choices:
                yield from self._backend(name, action)

    def _backend(self, name: str, action: Action | None) -> Iterator[str]:
        yield f"backend {name}"
        if action is not None and not name.startswith("p"):
            for line in lines_of(action, self._backends.names.__getitem__, lua=self._limits.lua):
                yield f"  {line}"
        for server, placed in self._servers.get(name, {}).items():
            yield f"  server {server} {placed.words}"


def head(own: Limits, *, mirrored: bool = False, limited: bool = False) -> Iterator[str]:
    """What holds for all of it. Retries are of what certainly did no harm: a connection that was refused, and a request that may be
    repeated on one that ended without a word."""
    yield from (
        "global",
        '  stats socket "unix@${KNARR_ADMIN}" mode 600 level admin expose-fd listeners',
        f"  nbthread {own.threads}",
        f"  maxconn {own.connections}",
        f"  hard-stop-after {own.leave_seconds}s",
        "  ssl-default-bind-options ssl-min-ver TLSv1.2",
        f"  tune.maxrewrite {mirrors.REWRITE_BYTES}",
        *(mirrors.globals_of() if mirrored else ()),
        *((f"  lua-load-per-thread {limits.SCRIPT}",) if limited else ()),
        "defaults",
        "  mode http",
        f"  maxconn {own.connections}",
        "  option redispatch 1",
        "  option idle-close-on-response",
        "  retries 3",
        "  retry-on conn-failure empty-response",
        "  balance roundrobin",
        "  timeout connect 3s",
        "  timeout client 60s",
        "  timeout server 60s",
        "  timeout http-request 30s",
        "  timeout http-keep-alive 75s",
        "  timeout queue 5s",
        "  timeout tunnel 1h",
    )


def escaped(key: str) -> str:
    """As one word of a command."""
    return re.sub(r"([\\;<\s])", r"\\\1", key)


def _others(action: Action) -> Iterator[Action]:
    """Those that it leads to, which have backends of their own."""
    yield from (mirror.action for mirror in action.mirrors)
    yield from (choice for _, choice in action.choices)


def _parts(lines: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for line in lines:
        if part and size + len(line) > COMMAND_BYTES:
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line) + 1
    if part:
        yield part


def _try(routes: Iterable[Route], *, lua: bool) -> None:
    """Writes them all, to see whether it can be done. Raises BadWord with the place."""
    for route in routes:
        try:
            routes_of = HostRoutes({route.match.place: [route, replace(route, canary=None)] if route.canary is not None else [route]})
            entries_of(host_of(route), routes_of, lambda _: "p0")
            match_words(route.match)
            for action in (route.action, *_others(route.action)):
                lines_of(action, lua=lua)
                if action.options.login is not None:
                    users_of(action.options.login)
        except BadWord as error:
            raise BadWord(f"{route.place}: {error}" if route.place else str(error)) from None

"""Puts a program in force: starts the proxy with the first route, changes it, ends it with the last; never two changes at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Mapping
from enum import Enum

from knarr.client.backoff import Backoff
from services.gateway import metrics
from services.gateway.haproxy.frontends import Bind
from services.gateway.haproxy.process import Haproxy, ProxyError, has_lua, most_connections
from services.gateway.haproxy.program import Limits, Program, Reload
from services.gateway.routing.table import entry_of, number_of, scope_of
from services.gateway.settings import GatewaySettings

log = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0
AGAIN = Backoff(first_seconds=0.2, limit_seconds=10.0)
# How a changed port is looked at again that was in use.
PORT_SECONDS = 3.0
# So many ports at addresses of their own.
MOST_OWN_PORTS = 8000


class Kind(Enum):
    """Of a port: HTTP, HTTP over TLS that ends here, or TLS that is passed on. One may be of both of the latter."""

    PLAIN = "plain"
    TLS = "tls"
    PASSED = "passed"


class Executor:
    """``program`` is changed by others, who then call ``apply``. ``problem`` says in words why the last of it is not in force; empty
    when it is. ``closed`` are the ports (with what stands for their addresses) that cannot be opened, and why."""

    def __init__(self, settings: GatewaySettings, ports_changed: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._ports_changed = ports_changed
        self.program = Program(Limits(settings.threads, most_connections(settings.connections), settings.leave_seconds, has_lua()))
        self.process = Haproxy(settings.folder, self._restarted)
        self.problem = ""
        self.closed: dict[int, str] = {}
        self.changes = 0
        self.last_change_seconds = 0.0
        self.reloads = 0
        self._open: set[tuple[str, int]] = set()
        self._wanted: dict[int, Kind] = {}
        # What is opened for ports at addresses of their own.
        self._own_ports: dict[int, int] = {}
        self._again = asyncio.Event()
        self._failures = 0
        self._lock = asyncio.Lock()

    @property
    def synced(self) -> bool:
        """Whether all of it is in force."""
        return not self.problem

    @property
    def serves(self) -> bool:
        """Whether the proxy answers, at least by what was in force last."""
        return self.process.works

    @property
    def listeners(self) -> dict[int, tuple[Kind, list[tuple[str, int]]]]:
        """The wanted ports: of which kind, and where."""
        return {
            port: (kind, [(address, self.listens(port)) for address in self._settings.addresses]) for port, kind in self._wanted.items()
        }

    def listens(self, port: int) -> int:
        """What is opened for a port."""
        return self._own_ports[entry_of(port)] if scope_of(port) else self._settings.listens(number_of(port))

    def ports(self, wanted: Mapping[int, Kind]) -> None:
        """Which ports are to be served."""
        self._wanted = dict(wanted)
        own = {entry_of(port) for port in wanted if scope_of(port)}
        self._own_ports = {entry: number for entry, number in self._own_ports.items() if entry in own}
        for entry in sorted(own - self._own_ports.keys()):
            self._own_ports[entry] = self._unused()

    def _unused(self) -> int:
        """One that nobody has, neither here nor elsewhere on this machine; the first of all where there is none."""
        taken = {*self._own_ports.values(), *(number for _, number in self._open)}
        first = self._settings.first_own_port
        free = (
            each
            for each in range(first, first + MOST_OWN_PORTS)
            if each not in taken and not any(_cannot_open(a, each) for a in self._settings.addresses)
        )
        return next(free, first)

    async def apply(self, since: float | None = None) -> bool:
        """Puts in force what the program says now; False, and ``problem``, when that cannot be done now: it is tried again by itself.
        ``since``: when the first of it changed, of ``time.monotonic``."""
        async with self._lock:
            since = since if since is not None else time.monotonic()
            self.program.bind(self._binds())
            if not self._wanted:
                await self.process.end()
                self._done("reload", None)
                return True
            change = self.program.change()
            try:
                if isinstance(change, Reload):
                    await self.process.reload(change)
                    self.reloads += 1
                elif change is not None:
                    await self.process.command(change.commands)
            except ProxyError as error:
                self._failed(str(error))
                return False
            self._done("reload" if isinstance(change, Reload) else "runtime", since if change is not None else None)
            return True

    def _done(self, how: str, since: float | None) -> None:
        self.problem, self._failures = "", 0
        if since is None:
            return
        self.changes += 1
        self.last_change_seconds = time.monotonic() - since
        metrics.CHANGES.labels(how).inc()
        metrics.CHANGE_SECONDS.observe(self.last_change_seconds)
        metrics.ROUTES.set(len(self.program.table))

    def _failed(self, why: str) -> None:
        if why != self.problem:
            log.error("routes are not in force", extra={"error": why})
        metrics.CHANGES.labels("refused").inc()
        self.problem = why
        # What of a change it has taken is not known.
        self.program.restart()
        self._failures += 1
        self._again.set()

    def _restarted(self) -> None:
        metrics.RESTARTS.inc()
        self.program.restart()
        self._again.set()

    def _binds(self) -> list[Bind]:
        """What can be opened of the wanted ports."""
        binds, closed, opened = [], {}, set()
        for port, (kind, places) in sorted(self.listeners.items()):
            problems = [problem for place in places if place not in self._open and (problem := _cannot_open(*place))]
            if problems:
                closed[entry_of(port)] = problems[0]
                if scope_of(port):
                    # Nobody was told this number: next time it is another.
                    self._own_ports[entry_of(port)] = self._unused()
                continue
            opened.update(places)
            binds.append(Bind(port, tuple(places), kind is Kind.TLS))
        self._open = opened
        if closed != self.closed:
            for port, why in closed.items():
                log.error("a port cannot be opened", extra={"port": number_of(port), "error": why})
            self.closed = closed
            self._again.set()
            self._ports_changed()
        return binds

    async def run(self) -> None:
        """Keeps the proxy alive and tries again what failed, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.process.run(), name="gateway/haproxy")
            group.create_task(self._try_again(), name="gateway/again")
            group.create_task(self._sweep(), name="gateway/sweep")

    async def _try_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PORT_SECONDS if self.closed else None):
                    await self._again.wait()
            self._again.clear()
            if self._failures:
                await asyncio.sleep(AGAIN.delay(self._failures))
            await self.apply()

    async def _sweep(self) -> None:
        """Deletes servers whose last request has ended, and keeps what the proxy says short."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.process.trim()
            for backend, server in self.program.leaving:
                async with self._lock:
                    if (backend, server) in self.program.leaving:
                        with contextlib.suppress(ProxyError):
                            await self.process.command([f"del server {backend}/{server}"])
                            self.program.left(backend, server)


def _cannot_open(address: str, port: int) -> str:
    """Why not, in words; empty when it can."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
            trial.listen(1)
        except OSError as error:
            return f"{address}:{port} cannot be opened: {error.strerror}"
    return ""

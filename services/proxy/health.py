"""Answers at each Service's healthCheckNodePort whether this node has endpoints for it, as load balancers ask before they send here.

200 with ready endpoints on this node, else 503; a body in JSON, and the number of endpoints in a header as well, for those that weigh
nodes. Form and words are those of Kubernetes' own proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

from services.proxy.routing.table import Change, RouteKey

log = logging.getLogger(__name__)

READ_TIMEOUT_SECONDS = 5.0
MAX_REQUEST_BYTES = 8192
# Load balancers ask one at a time; more than so many at once are turned away.
MAX_CLIENTS = 64

Service = tuple[str, str]


class HealthChecks:
    """One HTTP server for each Service that wants one. ``run`` it; ``put`` what is in force."""

    def __init__(self, healthy: Callable[[], bool], retry_seconds: float, address: str = "0.0.0.0") -> None:
        """``healthy``: whether this node's datapath does its work."""
        self._healthy = healthy
        self._retry_seconds = retry_seconds
        self._address = address
        # Ports, and ready endpoints of this node, of each of a Service's routes.
        self._routes: dict[Service, dict[RouteKey, tuple[int, tuple[str, ...]]]] = {}
        self._servers: dict[Service, tuple[int, asyncio.Server]] = {}
        self._touched = asyncio.Event()
        self._clients = 0
        # What cannot be answered, in words.
        self.problems: dict[Service, str] = {}

    def put(self, change: Change) -> None:
        """Takes over a change that is in force now."""
        for route in change.before:
            routes = self._routes.get((route.key.namespace, route.key.service), {})
            if routes.pop(route.key, None) is not None:
                self._touched.set()
            if not routes:
                self._routes.pop((route.key.namespace, route.key.service), None)
        for route in change.after:
            if route.health_check_port:
                routes = self._routes.setdefault((route.key.namespace, route.key.service), {})
                routes[route.key] = (route.health_check_port, route.local_ready)
                self._touched.set()

    async def run(self) -> None:
        """Listens until cancelled."""
        try:
            while True:
                self._touched.clear()
                await self._settle()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._retry_seconds if self.problems else None):
                        await self._touched.wait()
        finally:
            for _, server in self._servers.values():
                server.close()
            self._servers.clear()

    async def _settle(self) -> None:
        wanted = {service: next(iter(routes.values()))[0] for service, routes in self._routes.items()}
        for service, (port, server) in list(self._servers.items()):
            if wanted.get(service) != port:
                server.close()
                del self._servers[service]
        self.problems = {}
        for service, port in wanted.items():
            if service not in self._servers:
                try:
                    self._servers[service] = (port, await self._serve(service, port))
                except OSError as error:
                    self.problems[service] = f"healthCheckNodePort {port} cannot be listened on: {error.strerror}"
                    log.warning(
                        "a health check cannot be answered", extra={"service": "/".join(service), "port": port, "error": str(error)}
                    )

    async def _serve(self, service: Service, port: int) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._clients += 1
            try:
                async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                    if self._clients <= MAX_CLIENTS:
                        await self._answer(service, reader, writer)
            except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                pass
            finally:
                self._clients -= 1
                writer.close()

        return await asyncio.start_server(answer, self._address, port, limit=MAX_REQUEST_BYTES)

    async def _answer(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        method = request.split(b" ", 1)[0]
        writer.write(response(*self._state(service), with_body=method != b"HEAD"))
        await writer.drain()

    def _state(self, service: Service) -> tuple[Service, int, bool]:
        routes: Mapping[RouteKey, tuple[int, tuple[str, ...]]] = self._routes.get(service, {})
        return service, len({address for _, ready in routes.values() for address in ready}), self._healthy()


def response(service: Service, endpoints: int, healthy: bool, *, with_body: bool = True) -> bytes:
    """The whole answer. ``endpoints``: how many this node has."""
    namespace, name = service
    status = HTTPStatus.OK if endpoints and healthy else HTTPStatus.SERVICE_UNAVAILABLE
    said = {"service": {"namespace": namespace, "name": name}, "localEndpoints": endpoints, "serviceProxyHealthy": healthy}
    body = json.dumps(said, indent="\t").encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/json\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"X-Load-Balancing-Endpoint-Weight: {endpoints}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")

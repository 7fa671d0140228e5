"""Runs a component: its gRPC server with TLS, tokens, health and reflection, and its work.

Stop is staged: health turns NOT_SERVING, the port is closed and running calls get a short grace, then the
component's work is cancelled, which they may have needed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from knarr.client.channel import server_options
from knarr.service.access import Access, anybody
from knarr.service.authentication import Impersonate, TokenAuthenticator, as_nobody_else
from knarr.service.component import Component
from knarr.service.descriptors import raise_limit
from knarr.service.file_marks import FileMarks
from knarr.service.interceptor import Pace, ServerInterceptor, at_once
from knarr.service.keypair import KeptPair, KeyPair
from knarr.service.tasks import cancel

if TYPE_CHECKING:
    from knarr.service.web.message import WebFace
    from knarr.service.web.shared_port import SharedPort

log = logging.getLogger(__name__)

# What a caller may send in one message; etcd's objects are smaller. What is answered may be a list of many.
MAX_RECEIVED_BYTES = 4 * 1024 * 1024
MAX_SENT_BYTES = 64 * 1024 * 1024
# A connection that does not finish its handshake, or on which nothing runs, is closed; clients connect anew when they need to.
HANDSHAKE_SECONDS, IDLE_SECONDS = 15, 300
# Connections of one server: so many, and a thirty-second of the descriptors at most, since ``knarr up`` has a server for each component
# beside REST. Who comes when they are taken is turned away before the handshake.
MAX_CONNECTIONS, SHARE = 4096, 32
# Calls at once on one connection; further ones wait on the client's side. As many as Kubernetes permits.
MAX_CALLS = 1000
CALL_GRACE_SECONDS = 1.0
HEALTH_PERIOD_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a component listens."""

    # Address to listen on, `host:port`; port 0 lets the system choose.
    listen: str
    # Certificate and key of the server; one that is kept in files is looked at for each new connection.
    pair: KeyPair | KeptPair
    # Who may call. None: nobody is known by a token, and what is shown of them is passed over.
    tokens: TokenAuthenticator | None
    # Who says whom a caller may play.
    impersonate: Impersonate = as_nobody_else
    # When calls go on that have one answer.
    pace: Pace = at_once
    # The authorities of client certificates, PEM: with them a caller must show one (mutual TLS).
    client_ca: Path | None = None
    # Where that is asked of callers; empty: at `listen`. gRPC asks all callers of a port for one, or none.
    mutual_listen: str = ""
    # Further places where it is.
    further_mutual: tuple[str, ...] = ()
    # Who may make which call; by default the server itself asks with each.
    access: Access = anybody
    # The authorities of certificates that clients of HTTP may show, PEM, where the component serves that too. None: those of `client_ca`.
    web_client_ca: Path | None = None


def _credentials(pair: KeyPair | KeptPair, client_ca: Path | None = None) -> grpc.ServerCredentials:
    """Shows a connection what the pair is when it begins, and takes the clients' that the authorities of that moment have signed. gRPC
    asks in threads of its own."""
    shown = pair.latest()
    authorities = FileMarks([client_ca] if client_ca is not None else [])

    def changed() -> Any:
        nonlocal shown
        latest = pair.latest()
        if not authorities.changed() and latest is shown:
            return None
        shown = latest
        return _configuration(latest, client_ca)

    return grpc.dynamic_ssl_server_credentials(_configuration(shown, client_ca), changed, client_ca is not None)


def _configuration(pair: KeyPair, client_ca: Path | None) -> Any:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], client_ca.read_bytes() if client_ca else None)


class Host:
    """One component behind its own gRPC port, at which it may be spoken to by HTTP, too."""

    def __init__(self, component: Component, settings: ServerSettings) -> None:
        self.component = component
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._shared: SharedPort | None = None
        # The port that is bound; 0 before `start`.
        self.port = 0
        # The one at which callers show a certificate.
        self.mutual_port = 0

    async def start(self) -> None:
        """Binds the port and serves; the component's work is started by ``run``."""
        settings = self._settings
        options = [
            ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
            ("grpc.max_send_message_length", MAX_SENT_BYTES),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
            ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
            ("grpc.max_allowed_incoming_connections", min(MAX_CONNECTIONS, raise_limit() // SHARE)),
            ("grpc.max_concurrent_streams", MAX_CALLS),
            ("grpc.so_reuseport", 0),
            *server_options(),
        ]
        interceptor = ServerInterceptor(settings.tokens, settings.impersonate, settings.access, settings.pace)
        server = grpc.aio.server(interceptors=[interceptor], options=options)
        names = self.component.register(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        face = self.component.web(settings.tokens)
        own = f"knarr-{self.component.name}-{os.getpid()}-{secrets.token_hex(8)}" if face is not None else ""
        listen = f"unix-abstract:{own}" if own else settings.listen
        self.port = self._bind(server, listen, None if settings.mutual_listen else settings.client_ca)
        self.mutual_port = self.port
        if settings.mutual_listen:
            self.mutual_port = self._bind(server, settings.mutual_listen, settings.client_ca)
        for further in settings.further_mutual:
            self._bind(server, further, settings.client_ca)
        await server.start()
        self._server = server
        if face is not None:
            self.port = self.mutual_port = await self._share(own, face)
        log.info("listening", extra={"component": self.component.name, "port": self.port})

    async def _share(self, grpc_name: str, face: WebFace) -> int:
        """Listens at the port for both; ends the server where it cannot. Raises OSError."""
        from knarr.service.tls import ServerContext
        from knarr.service.web.shared_port import SharedPort

        settings = self._settings
        authorities = settings.web_client_ca or settings.client_ca
        shared = SharedPort(grpc_name, face, ServerContext(settings.pair, str(authorities) if authorities is not None else ""))
        try:
            port = await shared.start(settings.listen)
        except BaseException:
            server, self._server = self._server, None
            if server is not None:
                await server.stop(0)
            raise
        self._shared = shared
        return port

    def _bind(self, server: grpc.aio.Server, listen: str, client_ca: Path | None) -> int:
        port: int = server.add_secure_port(listen, _credentials(self._settings.pair, client_ca))
        if port == 0:
            raise OSError(f"{self.component.name}: cannot listen on {listen}; another process holds it, choose another port")
        return port

    async def run(self) -> None:
        """Serves and works until cancelled; ends with the component's error when its work fails."""
        if self._server is None:
            await self.start()
        work = asyncio.create_task(self.component.run(), name=self.component.name)
        watch = asyncio.create_task(self._watch_health(), name=f"{self.component.name}/health")
        try:
            await asyncio.wait([work, watch], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                raise RuntimeError(f"{self.component.name} ended although it should run for ever")
        except asyncio.CancelledError:
            await self.component.leave()
            raise
        finally:
            await self._set_health(serving=False)
            if self._shared is not None:
                await self._shared.close_door()
            if self._server is not None:
                await self._server.stop(CALL_GRACE_SECONDS)
                self._server = None
            if self._shared is not None:
                await self._shared.stop(CALL_GRACE_SECONDS)
                self._shared = None
            await cancel([work, watch])

    async def _watch_health(self) -> None:
        """Copies the component's readiness into the health service."""
        known: bool | None = None
        while True:
            if self.component.ready is not known:
                known = self.component.ready
                await self._set_health(serving=known)
            await asyncio.sleep(HEALTH_PERIOD_SECONDS)

    async def _set_health(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set("", status)

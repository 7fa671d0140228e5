"""An API server's gRPC face on loopback, over TLS, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from knarr.client.client import Client
from knarr.client.rpc import connect
from knarr.service.authentication import TokenTable, User, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.interceptor import ServerInterceptor
from services.apiserver.component import ApiServer
from services.apiserver.in_memory import ADMIN

TOKEN = "secret"


@asynccontextmanager
async def rpc_client(apiserver: ApiServer, folder: Path, user: User = ADMIN) -> AsyncIterator[Client]:
    """A client over the network, as ``user``; ``folder`` takes the authority's certificate."""
    authority = CertificateAuthority.create()
    pair = authority.issue("apiserver", hosts=["127.0.0.1"])
    (folder / "ca.crt").write_bytes(authority.pair.certificate)
    server = grpc.aio.server(interceptors=[ServerInterceptor(TokenTable({hash_token(TOKEN): user}))])
    assert apiserver.register(server) == ["knarr.api.apiserver.v1.ResourceService", "knarr.api.apiserver.v1.AuthorizationService"]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}", folder / "ca.crt", TOKEN) as client:
            yield client
    finally:
        await server.stop(0)

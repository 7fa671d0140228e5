"""The faces of an API server in memory: gRPC on loopback, REST without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import orjson

from knarr.client.rpc import RpcClient, connect
from knarr.service.authentication import Impersonate, TokenAuthenticator, TokenTable, as_nobody_else, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.component import Component
from knarr.service.interceptor import Pace, ServerInterceptor, at_once
from services.apiserver.identity.callers import Callers
from services.apiserver.in_memory import ADMIN, ApiInMemory
from services.apiserver.rest.application import Application, create_app

TOKEN = "secret"
TOKENS = TokenTable({hash_token(TOKEN): ADMIN})

__all__ = ["Answer", "RestClient", "rpc_client"]


def callers(api: ApiInMemory, tokens: TokenTable = TOKENS) -> Callers:
    """Who is known to the faces: the administrator by ``TOKEN``, and service accounts where the API server issues tokens."""
    return Callers(tokens.authenticate, api.server.callers.accounts)


@asynccontextmanager
async def serving(
    component: Component,
    folder: Path,
    tokens: TokenAuthenticator = TOKENS,
    impersonate: Impersonate = as_nobody_else,
    pace: Pace = at_once,
) -> AsyncIterator[str]:
    """A component's gRPC services over TLS; yields their address. ``folder`` takes the certificate, ``TOKEN`` is good for it."""
    authority = CertificateAuthority.create()
    pair = authority.issue("apiserver", hosts=["127.0.0.1"])
    (folder / "ca.crt").write_bytes(authority.pair.certificate)
    server = grpc.aio.server(interceptors=[ServerInterceptor(tokens, impersonate, pace=pace)])
    component.register(server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def rpc_server(api: ApiInMemory, folder: Path, tokens: TokenTable = TOKENS) -> AsyncIterator[str]:
    """The gRPC face of an API server in memory, as ``serving`` has it."""
    async with serving(api.server, folder, callers(api, tokens), api.server.impersonate, api.server.pace) as address:
        yield address


@asynccontextmanager
async def rpc_client(api: ApiInMemory, folder: Path, token: str = TOKEN) -> AsyncIterator[RpcClient]:
    """A client over TLS; ``folder`` takes the certificate."""
    async with rpc_server(api, folder) as address, connect(address, folder / "ca.crt", token) as client:
        yield client


@dataclass
class Answer:
    status: int
    headers: dict[str, list[str]]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class RestClient:
    """Requests to the REST application as its server would hand them over."""

    api: ApiInMemory
    application: Application = field(init=False)
    # Headers that each request has besides, as they are.
    further: Sequence[tuple[bytes, bytes]] = ()
    tokens: TokenTable = TOKENS

    def __post_init__(self) -> None:
        self.application = create_app(self.api.server.api, callers(self.api, self.tokens), self.api.server.registry)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, **headers)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """The whole answer; of a watch all that comes until it ends. Header names are given with underscores."""
        answer = Answer(0, {})

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                for name, value in message["headers"]:
                    answer.headers.setdefault(name.decode(), []).append(value.decode())
            else:
                answer.body += message["body"]

        sent = asyncio.Event()

        async def receive() -> Any:
            if sent.is_set():
                await asyncio.Event().wait()
            sent.set()
            return {"type": "http.request", "body": b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)}

        lines = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        raw, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in lines.items()] + list(self.further),
            "state": {},
        }
        await self.application(scope, receive, send)
        return answer

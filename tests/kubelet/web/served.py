"""A kubelet's HTTPS in front of scripted commands."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from knarr.api.core.v1 import core_pb2 as core
from knarr.service.authentication import AUTHENTICATED, MASTERS, TokenTable, User, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.tls import ServerContext
from knarr.service.web.shared_port import SharedPort
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import Runtime, RuntimeFailure, Sandbox, Session
from tests.apiserver.rest.http_client import HttpClient
from tests.kubelet.support import Cluster, make_pod, running

TOKEN = "the API server's"
TOKENS = TokenTable({hash_token(TOKEN): User("admin", groups=(MASTERS, AUTHENTICATED))})


@dataclass
class Echo(Session):
    """Says back what it hears, on stderr which size a terminal has, until its input ends; then it exits with ``code``."""

    code: int = 0
    said: asyncio.Queue[tuple[int, bytes] | None] = field(default_factory=asyncio.Queue)
    closed: bool = False

    async def read(self) -> tuple[int, bytes] | None:
        return await self.said.get()

    async def write(self, data: bytes) -> None:
        self.said.put_nowait((1, data))

    async def close_stdin(self) -> None:
        self.said.put_nowait(None)

    async def resize(self, width: int, height: int) -> None:
        self.said.put_nowait((1, b"%dx%d" % (width, height)))

    async def exit_code(self) -> int:
        return self.code

    async def close(self) -> None:
        self.closed = True


class Deaf(Echo):
    """Takes no input."""

    async def write(self, data: bytes) -> None:
        await asyncio.Event().wait()


class ScriptedRuntime(HollowRuntime):
    """Its commands are their exit codes."""

    def __init__(self) -> None:
        super().__init__("10.244.0.0/24")
        self.sessions: list[Echo] = []

    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        if not command[0].isdigit():
            raise RuntimeFailure(f"{command[0]}: no such file")
        return self._session(int(command[0]))

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        self.sessions.append(Deaf() if tty else Echo())
        return self.sessions[-1]

    def _session(self, code: int) -> Echo:
        self.sessions.append(Echo(code))
        return self.sessions[-1]

    async def dial(self, sandbox: Sandbox, port: int) -> socket.socket:
        """Port 7 echoes; nobody listens elsewhere."""
        if port != 7:
            raise RuntimeFailure("connection refused")
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)

        async def echo() -> None:
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

        self.echoes = asyncio.create_task(echo())
        return ours


@dataclass
class Served:
    cluster: Cluster
    shared: SharedPort
    port: int
    context: ssl.SSLContext

    @property
    def sessions(self) -> list[Echo]:
        found: list[Echo] = self.cluster.runtime.sessions
        return found

    @asynccontextmanager
    async def socket(self, path: str, *protocols: str) -> AsyncIterator[ClientConnection]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        uri = f"wss://127.0.0.1:{self.port}{path}"
        async with connect(uri, ssl=self.context, additional_headers=headers, subprotocols=protocols or None) as found:  # type: ignore[arg-type]
            yield found

    async def status(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        async with HttpClient(self.port, self.context, TOKEN) as http:
            answer = await http.request(method, path, None, **headers)
            return answer.status, answer.body


@asynccontextmanager
async def serving(runtime: Runtime, data_dir: Path, pod: core.Pod | None = None) -> AsyncIterator[Served]:
    """A node with one pod that is ready, ``web`` unless another one is given."""
    authority = CertificateAuthority.create()
    pair = authority.issue("node-1", hosts=["127.0.0.1"])
    async with running(runtime, data_dir) as cluster:
        await cluster.client.create(pod or make_pod("web"))
        await cluster.ready()
        shared = SharedPort("nobody", cluster.kubelet.web(TOKENS), ServerContext(pair, ""))
        port = await shared.start("127.0.0.1:0")
        try:
            yield Served(cluster, shared, port, ssl.create_default_context(cadata=authority.pair.certificate.decode()))
        finally:
            await shared.stop(1)

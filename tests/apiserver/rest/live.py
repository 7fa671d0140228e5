"""A whole API server for tests: store, cache, pipeline and the REST face over TLS, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as kubelet
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.machinery.errors import status_error
from knarr.service.authentication import TokenTable, User, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.tls import tls_context
from services.apiserver.admission.catalog import PLUGINS, Factory
from services.apiserver.api import Api
from services.apiserver.component import ApiServer
from services.apiserver.rest.application import create_app
from services.apiserver.rest.server import RestServer
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.tokens.keys import SigningKeys
from tests.support.etcd import running_etcd
from tests.support.loops import new_uvloop

T = TypeVar("T")
TOKEN = "a-token-for-tests"
ADMIN = User("admin", "1", ("system:masters", "system:authenticated"))
START_SECONDS, STOP_SECONDS = 20.0, 10.0
SETTINGS = ApiServerSettings(advertise_address="192.0.2.1")


class ScriptedNode:
    """A node whose containers echo: logs are the request, exec is a little shell."""

    async def logs(self, pod: core.Pod, node: core.Node, request: face.LogRequest) -> Any:
        for number in range(request.tail_lines if request.HasField("tail_lines") else 3):
            yield f"{request.pod}/{request.container} line {number}\n".encode()

    async def exec(self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: Any) -> Any:
        command = list(start.command)
        if command[0] == "cat":
            async for request in requests:
                if request.WhichOneof("part") == "stdin":
                    yield face.ExecResponse(stdout=request.stdin)
                elif request.stdin_closed:
                    break
        elif command[0] == "exit":
            yield face.ExecResponse(stderr=b"failing\n")
            details = meta.StatusDetails(causes=[meta.StatusCause(reason="ExitCode", message=command[1])])
            message = f"command terminated with non-zero exit code: exit status {command[1]}"
            yield face.ExecResponse(status=meta.Status(status="Failure", reason="NonZeroExitCode", message=message, details=details))
            return
        else:
            yield face.ExecResponse(stdout=(" ".join(command) + "\n").encode())
        yield face.ExecResponse(status=meta.Status(status="Success"))

    async def attach(self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: Any) -> Any:
        """The main process is a ``cat``."""
        yield face.ExecResponse(stdout=b"attached\n")
        async for response in self.exec(pod, node, face.ExecStart(command=["cat"]), requests):
            yield response

    async def forward(self, pod: core.Pod, node: core.Node, port: int, data: Any, *, by_address: bool = False) -> Any:
        """Every port echoes, but 81, where nobody listens."""
        if port == 81:
            raise status_error("ServiceUnavailable", "failed to connect to localhost:81 inside the pod: connection refused")
        async for piece in data:
            yield b"echo " + piece

    async def connect(self, address: str, port: int, data: Any) -> Any:
        async for piece in data:
            yield piece


class ScriptedStats:
    """Nodes that use what a test puts into ``said``, by their names."""

    def __init__(self) -> None:
        self.said: dict[str, kubelet.GetStatsResponse] = {}

    async def of(self, node: core.Node) -> kubelet.GetStatsResponse:
        if node.metadata.name not in self.said:
            raise status_error("ServiceUnavailable", "the kubelet cannot be reached")
        return self.said[node.metadata.name]


@dataclass
class LiveServer:
    """What a client needs to know; ``call`` runs a coroutine in the server's loop."""

    port: int
    folder: Path
    api: Api
    client: Client
    loop: asyncio.AbstractEventLoop
    stats: ScriptedStats

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(START_SECONDS)


@contextlib.contextmanager
def running_server(
    folder: Path,
    *,
    in_memory: bool = False,
    endpoint: str = "",
    settings: ApiServerSettings = SETTINGS,
    plugins: Sequence[Factory] = PLUGINS,
    keys: SigningKeys | None = None,
) -> Iterator[LiveServer]:
    """Everything started and its first objects made, in memory, in the etcd at ``endpoint``, which is others' too, or in one of its own.

    With ``keys`` it signs tokens of service accounts, and pods have theirs mounted.
    """
    authority = CertificateAuthority.create()
    authority.pair.save(folder, "ca")
    authority.issue("apiserver", hosts=["127.0.0.1", "localhost"]).save(folder, "server")
    with contextlib.ExitStack() as stack:
        shared = bool(endpoint)
        if not in_memory and not endpoint:
            endpoint = stack.enter_context(running_etcd(folder)).endpoint
        runner = _Runner(folder, endpoint, dataclasses.replace(settings, shared_store=shared), plugins, keys)
        thread = threading.Thread(target=runner.run, name="live server")
        thread.start()
        try:
            if not runner.started.wait(START_SECONDS) or runner.server is None:
                raise RuntimeError("the server did not start")
            write_kubeconfig(runner.server)
            yield runner.server
        finally:
            runner.end()
            thread.join(STOP_SECONDS)
            assert not thread.is_alive()


class _Runner:
    def __init__(
        self, folder: Path, endpoint: str, settings: ApiServerSettings, plugins: Sequence[Factory], keys: SigningKeys | None
    ) -> None:
        """Without an ``endpoint`` of etcd objects lie in memory."""
        self._folder = folder
        self._settings, self._plugins, self._keys = settings, plugins, keys
        self._endpoint = endpoint
        self._ending: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self.started = threading.Event()
        self.server: LiveServer | None = None

    def run(self) -> None:
        with asyncio.Runner(loop_factory=new_uvloop) as runner:
            runner.run(self._main())

    def end(self) -> None:
        if self.server is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    async def _main(self) -> None:
        self._ending, self._loop = asyncio.Event(), asyncio.get_running_loop()
        store = EtcdStore(EtcdSettings((self._endpoint,))) if self._endpoint else MemoryStore()
        tokens = TokenTable({hash_token(TOKEN): ADMIN})
        component = ApiServer(
            self._settings, no_kubelet, store=store, plugins=self._plugins, authenticate=tokens.authenticate, keys=self._keys
        )
        task = asyncio.create_task(component.run())
        try:
            async with asyncio.timeout(START_SECONDS):
                await component.wait_ready()
            # A controller would make it.
            await component.client(ADMIN).create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="default")))
            checks = {"etcd": lambda: component.connected}
            stats = ScriptedStats()
            api = Api(dataclasses.replace(component.api.pipeline, node_streams=ScriptedNode(), node_stats=stats))
            application = create_app(api, component.callers, component.registry, checks=checks, aggregation=component.aggregation)
            context = tls_context(str(self._folder / "server.crt"), str(self._folder / "server.key"), str(self._folder / "ca.crt"))
            rest = RestServer(application, context)
            await rest.start()
            self.server = LiveServer(rest.port, self._folder, component.api, component.client(ADMIN), self._loop, stats)
            self.started.set()
            await self._ending.wait()
            await rest.stop()
        finally:
            self.started.set()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def no_kubelet(node: str, address: str) -> Any:
    raise AssertionError(f"no kubelet is asked in these tests, not even {address}")


def write_kubeconfig(server: LiveServer) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server.url, "certificate-authority": str(server.ca)}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
    }
    server.kubeconfig.write_text(yaml.safe_dump(config))

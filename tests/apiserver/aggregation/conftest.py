"""An API server in memory before an extension API server, asked over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.objects.conditions import get_condition
from knarr.service.tasks import cancel
from services.apiserver.aggregation.front_proxy import FrontProxy
from services.apiserver.aggregation.keeper import Aggregation
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rest.application import create_app
from services.apiserver.rest.server import RestServer
from services.apiserver.ways import Ways
from services.standalone.credentials import front_proxy_files, keep_front_proxy
from tests.apiserver.rest.conftest import TOKEN, TOKENS, Certificates, certificates
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.streams.backend import LeadingNode
from tests.support.extension import GROUP, VERSION, ExtensionServer, running_extension

__all__ = ["certificates"]

NAME = f"{VERSION}.{GROUP}"
ADDRESS = "10.1.2.3"
WAIT_SECONDS = 10.0


@dataclass
class Cluster:
    """``node`` leads connections to ports of 127.0.0.1."""

    api: ApiInMemory
    aggregation: Aggregation
    client: Client
    rest: HttpClient
    server: RestServer
    node: LeadingNode
    front_proxy: FrontProxy
    folder: Path
    certificates: Certificates

    async def place(self, *, port: int = 443, target: int = 8443, endpoints: bool = True) -> None:
        """A Service, and an endpoint that is no pod's."""
        await self.client.create(core.Namespace(metadata=meta.ObjectMeta(name="wardle")))
        service = core.Service(metadata=meta.ObjectMeta(name="api", namespace="wardle"))
        service.spec.ports.add(name="https", port=port)
        await self.client.create(service)
        if endpoints:
            await self.client.create(endpoints_of(target))

    async def register(self, server: ExtensionServer | None, **spec: Any) -> None:
        await self.client.create(api_service(server.ca_bundle if server is not None else b"", **spec))

    async def condition(self, status: str, reason: str, name: str = NAME) -> Any:
        """The condition, once it is that."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                found = get_condition((await self.client.get(apiregistration.APIService, name)).status, "Available")
                if found is not None and (found.status, found.reason) == (status, reason):
                    return found
                await asyncio.sleep(0.01)

    async def until(self, condition: Any) -> Any:
        """What ``condition`` answers, once that is something."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (found := await condition()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found

    async def served(self, server: ExtensionServer) -> None:
        """A registered one whose requests are passed on."""
        self.node.ports = {8443: server.port}
        await self.place()
        await self.register(server)
        await self.condition("True", "Passed")
        await self.until(self._is_followed)

    async def _is_followed(self) -> bool:
        return any(extension.available and extension.fresh for extension in self.aggregation.extensions)


def api_service(ca_bundle: bytes = b"", group: str = GROUP, version: str = VERSION, **spec: Any) -> apiregistration.APIService:
    made = apiregistration.APIService(metadata=meta.ObjectMeta(name=f"{version}.{group}"))
    made.spec.CopyFrom(
        apiregistration.APIServiceSpec(
            group=group, version=version, group_priority_minimum=2000, version_priority=200, ca_bundle=ca_bundle, **spec
        )
    )
    made.spec.service.namespace, made.spec.service.name = "wardle", "api"
    return made


def endpoints_of(target: int) -> core.Endpoints:
    made = core.Endpoints(metadata=meta.ObjectMeta(name="api", namespace="wardle"))
    subset = made.subsets.add()
    subset.addresses.add(ip=ADDRESS)
    subset.ports.add(name="https", port=target)
    return made


@asynccontextmanager
async def running(folder: Path, certificates: Certificates, client_ca: Path) -> AsyncIterator[Cluster]:
    front_proxy = FrontProxy(front_proxy_files(folder / "front-proxy", client_ca))
    node = LeadingNode()
    async with ApiInMemory() as api:
        aggregation = Aggregation(api.server.api, Ways(api.server.backend, node), api.server.backend.clock, front_proxy)
        aggregation.load()
        task = asyncio.create_task(aggregation.run())
        application = create_app(api.server.api, TOKENS, api.server.registry, aggregation=aggregation)
        server = RestServer(application, certificates.server)
        await server.start()
        try:
            async with HttpClient(server.port, certificates.client, TOKEN) as rest:
                yield Cluster(api, aggregation, api.client(), rest, server, node, front_proxy, folder, certificates)
        finally:
            await server.stop()
            await cancel([task])


@pytest.fixture
async def extension(tmp_path: Path) -> AsyncIterator[ExtensionServer]:
    keep_front_proxy(tmp_path / "front-proxy")
    async with running_extension(tmp_path, tmp_path / "front-proxy/ca.crt") as found:
        yield found


@pytest.fixture
async def cluster(tmp_path: Path, certificates: Certificates, extension: ExtensionServer) -> AsyncIterator[Cluster]:
    """Ends before the extension server does: nobody asks that any more by then."""
    async with running(tmp_path, certificates, certificates.ca) as found:
        yield found

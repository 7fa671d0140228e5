"""What the page learns of components, and of whom it asks nothing: a real API server judges, a real scheduler's face answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import orjson
import pytest
from grpc_health.v1 import health, health_pb2_grpc

from knarr.api.proxy.v1 import proxy_service_pb2 as proxy
from knarr.api.proxy.v1 import proxy_service_pb2_grpc as proxies
from knarr.api.scheduler.v1 import explain_pb2
from knarr.api.scheduler.v1 import scheduler_service_pb2_grpc as faces
from knarr.service.authentication import TokenTable, User, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.interceptor import ServerInterceptor
from services.command.parts import ClusterParts
from services.standalone.files import Files
from services.web.api import Api
from services.web.parts import Health, Unanswered
from services.web.placing import EXPLAIN, placing
from services.web.reach import NETWORK
from tests.apiserver.rest.live import LiveServer, running_server
from tests.web.conftest import access

CLUSTER_TOKEN = "a-token-of-the-data-directory"


class Scheduler(faces.SchedulerServiceServicer):
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def Explain(self, request: explain_pb2.ExplainRequest, context: Any) -> explain_pb2.ExplainResponse:
        self.asked.append(f"{request.namespace}/{request.pod}")
        return explain_pb2.ExplainResponse(summary="0/1 nodes are available")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("cluster"), in_memory=True) as server:
        yield server


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[tuple[Files, Scheduler]]:
    """A data directory whose state names a scheduler that answers, and a DNS that is away."""
    files, authority, servicer = Files(tmp_path), CertificateAuthority.create(), Scheduler()
    files.pki.mkdir()
    authority.pair.save(files.pki, "ca")
    files.admin_token.write_text(CLUSTER_TOKEN + "\n")
    pair = authority.issue("scheduler", hosts=["127.0.0.1"])
    tokens = TokenTable({hash_token(CLUSTER_TOKEN): User("knarr-admin", "1", ("system:masters",))})
    server = grpc.aio.server(interceptors=[ServerInterceptor(tokens)])
    faces.add_SchedulerServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    components = {"apiserver": f"127.0.0.1:{port}", "scheduler": f"127.0.0.1:{port}", "dns": "127.0.0.1:1"}
    files.state.write_bytes(orjson.dumps({"components": components}))
    yield files, servicer
    await server.stop(0)


async def test_the_scheduler_is_asked_for_whoever_may(cluster: LiveServer, asked: tuple[Files, Scheduler]) -> None:
    files, servicer = asked
    async with Api(access(cluster)) as api:
        told = await placing(ClusterParts(files, api), "shop", "web-1")
    assert told["summary"] == "0/1 nodes are available" and servicer.asked == ["shop/web-1"]


async def test_the_clusters_token_does_not_answer_to_whom_the_api_server_would_not(
    cluster: LiveServer, asked: tuple[Files, Scheduler]
) -> None:
    files, servicer = asked
    admin = access(cluster)
    guest = replace(admin, headers={**admin.headers, "Impersonate-User": "guest"})
    async with Api(guest) as api:
        with pytest.raises(Unanswered, match=f"no right to get {EXPLAIN}"):
            await placing(ClusterParts(files, api), "shop", "web-1")
    assert servicer.asked == []


async def test_each_component_is_told_as_it_answers(cluster: LiveServer, asked: tuple[Files, Scheduler]) -> None:
    files, _ = asked
    async with Api(access(cluster)) as api:
        healths = {health.component: health for health in await ClusterParts(files, api).healths()}
    assert healths["scheduler"] == Health("scheduler", healths["apiserver"].address, "SERVING")
    assert healths["dns"].answer.startswith("no answer: ")


@pytest.mark.parametrize("state", [None, b"{", b'{"components":{"apiserver":"127.0.0.1:1"}}'])
async def test_a_cluster_that_went_or_is_damaged_does_not_answer(
    cluster: LiveServer, asked: tuple[Files, Scheduler], state: bytes | None
) -> None:
    files, _ = asked
    files.state.unlink()
    if state is not None:
        files.state.write_bytes(state)
    async with Api(access(cluster)) as api:
        parts = ClusterParts(files, api)
        with pytest.raises(Unanswered, match="scheduler is not known here"):
            await placing(parts, "shop", "web-1")
        if state is None or b"apiserver" not in state:
            with pytest.raises(Unanswered, match="state cannot be read"):
                await parts.healths()


class Proxy(proxies.ProxyServiceServicer):
    def __init__(self, node: str) -> None:
        self.node = node

    async def GetPodNetwork(self, request: Any, context: Any) -> proxy.GetPodNetworkResponse:
        return proxy.GetPodNetworkResponse(node=self.node)


@asynccontextmanager
async def proxying(files: Files, node: str, listen: str) -> AsyncIterator[str]:
    """The proxy of a node, and where it is."""
    authority = CertificateAuthority.load_or_create(files.pki)
    pair = authority.issue("system:kube-proxy", hosts=["127.0.0.1", "localhost"])
    tokens = TokenTable({hash_token(CLUSTER_TOKEN): User("knarr-admin", "1", ("system:masters",))})
    server = grpc.aio.server(interceptors=[ServerInterceptor(tokens)])
    proxies.add_ProxyServiceServicer_to_server(Proxy(node), server)
    port = server.add_secure_port(listen, grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def test_proxies_of_nodes_that_share_the_machine_are_asked_too(cluster: LiveServer, asked: tuple[Files, Scheduler]) -> None:
    files, _ = asked
    doors = {name: files.fellow_proxy(name) for name in ("my-2", "my-3", "off")}
    for door in doors.values():
        door.parent.mkdir(parents=True)
    # One whose node was switched off.
    doors["off"].touch()
    question, answer = proxy.GetPodNetworkRequest(), proxy.GetPodNetworkResponse
    async with (
        proxying(files, "my", "127.0.0.1:0") as own,
        proxying(files, "my-2", f"unix:{doors['my-2']}"),
        proxying(files, "my-3", f"unix:{doors['my-3']}"),
        Api(access(cluster)) as api,
    ):
        files.state.write_bytes(orjson.dumps({"components": {"apiserver": own, "proxy": own}}))
        found = await ClusterParts(files, api).ask_each("proxy", NETWORK, question, answer)
    assert {address: one.node for address, one in found.items()} == {
        own: "my", f"unix:{doors['my-2']}": "my-2", f"unix:{doors['my-3']}": "my-3",
    }  # fmt: skip
    async with Api(access(cluster)) as api:
        with pytest.raises(Unanswered, match=f"proxy at {own}"):
            await ClusterParts(files, api).ask_each("proxy", NETWORK, question, answer)

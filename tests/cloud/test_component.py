"""The manager as a component: its gRPC services, its leadership, its command line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from prometheus_client import REGISTRY

from knarr.api.cloud.v1 import cloud_service_pb2 as api
from knarr.api.cloud.v1 import cloud_service_pb2_grpc as api_grpc
from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.cloud.v1 import provider_pb2_grpc as cloud_grpc
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.leader import Election, LeaseSettings
from knarr.objects.labels import EXCLUDED
from knarr.objects.tolerations import UNINITIALIZED
from knarr.service.authentication import TokenTable, User, hash_token
from knarr.service.interceptor import ServerInterceptor
from services.cloud.component import CloudControllerManager
from services.cloud.errors import Refused
from services.cloud.provider import CloudProvider, ProviderType
from services.cloud.settings import CloudSettings
from tests.cloud.cluster import FakeProvider, cluster, node, service
from tests.support.api import FaultyApi
from tests.support.cluster_client import ROOT
from tests.support.virtual_time import VirtualClock, virtual_time

WAIT_SECONDS = 10.0
TOKEN = (("authorization", "Bearer secret"),)


@asynccontextmanager
async def served(memory: FaultyApi, provider: CloudProvider, settings: CloudSettings) -> AsyncIterator[grpc.aio.Channel]:
    manager = CloudControllerManager(memory.client(), settings, kind=ProviderType(dict, lambda options, environment: provider))
    server = grpc.aio.server(interceptors=[ServerInterceptor(TokenTable({hash_token("secret"): User("admin")}))])
    assert manager.register(server) == ["knarr.api.cloud.v1.CloudService", "knarr.api.cloud.v1.CloudProviderService"]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    task = asyncio.create_task(manager.run())
    try:
        async with asyncio.timeout(WAIT_SECONDS), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)
        await server.stop(0)
    assert not manager.ready


async def test_everything_is_seen_over_grpc() -> None:
    provider = FakeProvider()

    async def refuse(call: str, found: core.Service) -> None:
        if found.metadata.name == "bad":
            raise Refused("annotation fake.example/x: must not be")

    provider.before = refuse
    memory = FaultyApi()
    excluded = node("node-2")
    excluded.metadata.labels[EXCLUDED] = ""
    memory.seed(node("node-1", taint=UNINITIALIZED), excluded, node("node-3", "False"), service("bad"), service("good"))
    async with served(memory, provider, CloudSettings(provider="fake")) as channel:
        stub = api_grpc.CloudServiceStub(channel)
        found: dict[str, api.LoadBalancerStatus] = {}
        while not (found and found["bad"].failures and found["good"].ingress):
            await asyncio.sleep(0.01)
            status = await stub.GetStatus(api.GetStatusRequest(), metadata=TOKEN)
            if status.queues:
                answer = await stub.ListLoadBalancers(api.ListLoadBalancersRequest(), metadata=TOKEN)
                found = {one.service: one for one in answer.load_balancers}
        assert status.leader and status.provider == "fake" and status.info.name == "fake"
        assert {queue.controller for queue in status.queues} == {"node", "nodelifecycle", "service", "route"}
        assert found["good"].state == api.LOAD_BALANCER_STATE_IN_FORCE and list(found["good"].ingress) == ["198.51.100.1"]
        assert found["bad"].state == api.LOAD_BALANCER_STATE_FAILED and "fake.example/x" in found["bad"].last_error
        assert 0 < found["bad"].next_in_seconds <= 1.0
        tried = provider.count("ensure", "bad")
        await stub.Sync(api.SyncRequest(controller="service", key="default/bad"), metadata=TOKEN)
        while provider.count("ensure", "bad") == tried:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        nodes = {one.name: one for one in (await stub.ListNodes(api.ListNodesRequest(), metadata=TOKEN)).nodes}
        assert nodes["node-1"].uninitialized and nodes["node-1"].last_error == "the provider knows no such machine"
        assert EXCLUDED in nodes["node-2"].excluded and nodes["node-3"].excluded == "it is not ready"
        info = await cloud_grpc.CloudProviderServiceStub(channel).GetInfo(cloud.GetInfoRequest(), metadata=TOKEN)
        assert info.name == "fake"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            request = cloud.EnsureLoadBalancerRequest(service=service("bad"))
            await cloud_grpc.CloudProviderServiceStub(channel).EnsureLoadBalancer(request, metadata=TOKEN)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "fake.example/x" in str(caught.value.details())
        with pytest.raises(grpc.aio.AioRpcError, match="not found"):
            await stub.Sync(api.SyncRequest(controller="nope"), metadata=TOKEN)
        assert REGISTRY.get_sample_value("knarr_cloud_provider_calls_total", {"method": "EnsureLoadBalancer", "outcome": "Invalid"})


async def test_one_that_stands_by_says_so() -> None:
    memory = FaultyApi()
    held = coordination.Lease()
    held.metadata.name, held.metadata.namespace = "knarr-cloud-controller-manager", "kube-system"
    held.spec.holder_identity, held.spec.lease_duration_seconds = "another", 3600
    memory.seed(held)
    async with served(memory, FakeProvider(), CloudSettings(election=Election("one", held=True))) as channel:
        stub = api_grpc.CloudServiceStub(channel)
        assert not (await stub.GetStatus(api.GetStatusRequest(), metadata=TOKEN)).leader
        with pytest.raises(grpc.aio.AioRpcError, match="another one leads") as caught:
            await stub.ListLoadBalancers(api.ListLoadBalancersRequest(), metadata=TOKEN)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@virtual_time
async def test_only_the_leader_acts_and_another_takes_over() -> None:
    memory, lease = FaultyApi(VirtualClock()), LeaseSettings()
    one, two = FakeProvider(), FakeProvider()
    async with cluster(two, memory, election=Election("two", held=True, lease=lease)) as second:
        async with cluster(one, memory, election=Election("one", held=True, lease=lease)) as first:
            await first.client.create(service())
            await first.until(first.ingress)
            assert (one.calls, two.calls).count([]) == 1
            winner = two if two.calls else one
        if winner is one:
            await second.client.create(service("next"))
            await second.until(lambda: second.ingress("next"))
            assert two.count("ensure", "web") == 1


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cloud", "--apiserver=127.0.0.1:1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT)


@pytest.mark.parametrize(
    ("options", "content", "words"),
    [
        (["--local-pool=10.97.0.0"], None, "required: --cert"),
        (["--local-pool=10.97.0.0/33"], None, "local.pool: "),
        (["--cloud-provider=external", "--local-pool=10.97.0.1"], None, "--local-pool is for the provider local"),
        (["--cloud-provider=external"], None, "external.address: must be given"),
        ([], "local: {pol: [10.97.0.0/24]}", "local.pol: unknown field; there are pool"),
        ([], "locl: {}", "locl: unknown provider; there are "),
    ],
)
def test_a_wrong_option_or_file_is_one_line(options: list[str], content: str | None, words: str, tmp_path: Path) -> None:
    files = []
    if "required" not in words:
        for name in ("server.crt", "server.key", "ca.crt", "tokens.csv", "token"):
            (tmp_path / name).touch()
        files = [f"--trust={tmp_path}"]
    if content is not None:
        (tmp_path / "cloud.yaml").write_text(content)
        files.append(f"--cloud-config={tmp_path / 'cloud.yaml'}")
    done = run(*options, *files)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr

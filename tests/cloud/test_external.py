"""Provider external: the example as a process, behind TLS and a token; what its errors become."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.cloud.v1 import provider_pb2_grpc as cloud_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informers
from knarr.objects.labels import ZONE
from knarr.objects.tolerations import UNINITIALIZED
from services.cloud.errors import ProviderError, Refused, Throttled, Unavailable, Unsupported
from services.cloud.provider import CloudProvider, Environment
from services.cloud.providers.external.provider import ExternalProvider
from services.cloud.providers.external.settings import ExternalSettings
from tests.cloud.cluster import NAMESPACE, node, service
from tests.cloud.external import ExampleProvider
from tests.cloud.managed import events, ingress, managed, until
from tests.support.api import FaultyApi


@pytest.fixture
def example(tmp_path: Path) -> Iterator[ExampleProvider]:
    made = ExampleProvider(tmp_path)
    try:
        yield made
    finally:
        made.kill()


async def test_the_example_serves_a_cluster_from_a_process_of_its_own(example: ExampleProvider) -> None:
    example.set_cloud(machines={"node-1": {"zone": "cellar", "addresses": ["203.0.113.99"]}})
    example.start()
    api = FaultyApi()
    client = api.client()
    api.seed(node("node-1", taint=UNINITIALIZED))
    async with managed(api, "external", example.settings):
        await until(lambda: not api.all(core.Node)[0].spec.taints)
        assert api.all(core.Node)[0].metadata.labels[ZONE] == "cellar"
        await client.create(service(annotations={"example.com/address": "203.0.113.2"}))
        await until(lambda: ingress(api) == ["203.0.113.2"])
        assert [made["nodes"] for made in example.cloud["balancers"].values()] == [["node-1"]]
        await client.create(service("late", annotations={"example.com/address": "203.0.113.2"}))
        await until(lambda: events(api, "SyncLoadBalancerFailed"))
        assert "annotation example.com/address: 203.0.113.2 is not free" in events(api, "SyncLoadBalancerFailed")[0]
        # It falls silent, and is back.
        example.kill()
        await client.delete(core.Service, "web", NAMESPACE)
        await until(lambda: any("is not reached" in text for text in events(api, "SyncLoadBalancerFailed")))
        example.start()
        await until(lambda: ingress(api, "late") == ["203.0.113.2"])
        assert len(api.all(core.Service)) == 1
        # The machine is gone.
        example.set_cloud(machines={})
        lost = api.all(core.Node)[0]
        lost.status.conditions[0].status = "Unknown"
        await client.update(lost, subresource="status")
        await until(lambda: not api.all(core.Node))


async def test_a_manager_waits_for_its_provider_and_says_that_it_does(example: ExampleProvider) -> None:
    api = FaultyApi()
    await api.client().create(service())
    async with managed(api, "external", example.settings) as manager:
        await asyncio.sleep(0.2)
        assert not manager.ready
        example.start()
        await until(lambda: ingress(api))
        assert manager.ready


async def test_a_wrong_token_is_told_with_the_field_that_names_it(example: ExampleProvider, tmp_path: Path) -> None:
    example.start()
    settings = example.settings
    assert settings.token_file is not None
    settings.token_file.write_text("another\n")
    with pytest.raises(Unavailable, match=r"refuses the token \(external.tokenFile\): wrong token"):
        await asked(ExternalProvider(settings, _environment()))


class _Failing(cloud_grpc.CloudProviderServiceServicer):
    """Answers with the error it is told."""

    def __init__(self) -> None:
        self.code, self.text, self.metadata = grpc.StatusCode.OK, "", ()

    async def GetInfo(self, request: cloud.GetInfoRequest, context: Any) -> cloud.GetInfoResponse:
        await context.abort(self.code, self.text, self.metadata)
        raise AssertionError("aborted")


@pytest.mark.parametrize(
    ("code", "metadata", "expected", "retry"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, (("retry-after", "7.5"),), Throttled, 7.5),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, (("retry-after", "soon"),), Throttled, 0.0),
        (grpc.StatusCode.INVALID_ARGUMENT, (), Refused, 0.0),
        (grpc.StatusCode.FAILED_PRECONDITION, (), Refused, 0.0),
        (grpc.StatusCode.UNIMPLEMENTED, (), Unsupported, 0.0),
        (grpc.StatusCode.INTERNAL, (), Unavailable, 0.0),
    ],
)
async def test_errors_of_any_language_become_ours(code: Any, metadata: Any, expected: type[ProviderError], retry: float) -> None:
    servicer = _Failing()
    servicer.code, servicer.text, servicer.metadata = code, "its words", metadata
    server = grpc.aio.server()
    cloud_grpc.add_CloudProviderServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with pytest.raises(expected, match="its words") as caught:
            await asked(ExternalProvider(ExternalSettings(f"127.0.0.1:{port}", insecure=True), _environment()))
        assert caught.value.retry_after_seconds == retry
    finally:
        await server.stop(None)


async def asked(provider: CloudProvider) -> None:
    try:
        await provider.get_info(cloud.GetInfoRequest())
    finally:
        await provider.close()


def _environment() -> Environment:
    client = FaultyApi().client()
    return Environment("knarr", client, Informers(client), lambda key: None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "nowhere"}, "address: 'nowhere' is not host:port"),
        ({"address": "a:1"}, "ca_file: must name"),
        ({"address": "a:1", "ca_file": Path("/none")}, "ca_file: there is no file /none"),
        ({"address": "a:1", "ca_file": Path("/etc/hosts"), "insecure": True}, "insecure: leave it out"),
    ],
)
def test_settings_that_cannot_be_name_their_field(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ExternalSettings(**options)

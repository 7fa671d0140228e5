"""One manifest on every provider: each takes its own options, none is disturbed by those of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from services.cloud.providers.aws.settings import AwsSettings
from services.cloud.providers.catalog import PROVIDERS
from services.cloud.providers.local.settings import LocalSettings
from tests.cloud.aws.account import REGION, Account
from tests.cloud.cluster import NAMESPACE, node
from tests.cloud.external import ExampleProvider
from tests.cloud.managed import events, ingress, managed, until
from tests.support.api import FaultyApi
from tests.support.cluster_client import ROOT

MANIFEST = ROOT / "examples" / "load-balancer.yaml"


def manifest() -> core.Service:
    """As the API server stores it."""
    made: core.Service = codec.from_json(core.Service, yaml.safe_load(MANIFEST.read_text())).message
    made.metadata.namespace = NAMESPACE
    for port in made.spec.ports:
        port.protocol, port.node_port = "TCP", 30080
    return made


@contextmanager
def provided(name: str, folder: Path, account: Account) -> Iterator[tuple[Any, core.Node]]:
    """A provider's settings, and a node that it knows."""
    if name == "local":
        yield LocalSettings(), node("node-1")
    elif name == "aws":
        yield AwsSettings(region=REGION, endpoint_url=account.url, routes=False), account.node(0, "node-1")
    elif name == "external":
        example = ExampleProvider(folder)
        example.set_cloud(machines={"node-1": {}})
        example.start()
        try:
            yield example.settings, node("node-1")
        finally:
            example.kill()
    else:
        pytest.fail(f"say here and in `is_as_wished` with which settings {name} is tried, and which address it gives")


def is_as_wished(name: str, account: Account, found: list[str]) -> bool:
    """Whether the provider has gone by its own annotations."""
    if name == "aws":
        balancer = account.balancer()
        interval = account.groups()[0]["HealthCheckIntervalSeconds"]
        return found == [balancer["DNSName"]] and (balancer["Scheme"], interval) == ("internal", 10)
    return found == [{"local": "10.97.0.7", "external": "203.0.113.2"}[name]]


@pytest.mark.parametrize("name", sorted(PROVIDERS))
async def test_each_provider_takes_its_own_options_of_one_manifest(name: str, tmp_path: Path, account: Account) -> None:
    api = FaultyApi()
    client = api.client()
    with provided(name, tmp_path, account) as (settings, machine):
        api.seed(machine)
        async with managed(api, name, settings):
            await client.create(manifest())
            await until(lambda: ingress(api))
            assert is_as_wished(name, account, ingress(api))
            kept = api.all(core.Service)[0].metadata.annotations
            assert manifest().metadata.annotations.items() <= dict(kept).items()
            assert not events(api, "SyncLoadBalancerFailed") and not events(api, "LoadBalancerLimited")
            await client.delete(core.Service, "web", NAMESPACE)
            await until(lambda: not api.all(core.Service))
    assert not account.balancers()

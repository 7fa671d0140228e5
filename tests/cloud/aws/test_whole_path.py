"""The cloud controller manager with provider aws, from the API's objects to an account and back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from services.cloud.component import CloudControllerManager
from services.cloud.configuration import read_section
from services.cloud.providers.aws.options import PREFIX
from services.cloud.providers.aws.settings import AwsSettings
from services.cloud.settings import CloudSettings
from tests.cloud.aws.account import CLUSTER, REGION, Account
from tests.cloud.aws.provider import service
from tests.support.api import FaultyApi, FaultyClient

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"


@dataclass
class Running:
    api: FaultyApi
    client: FaultyClient

    def service(self, name: str = "web") -> core.Service | None:
        return next((found for found in self.api.all(core.Service) if found.metadata.name == name), None)

    def hostnames(self, name: str = "web") -> list[str]:
        found = self.service(name)
        return [entry.hostname for entry in found.status.load_balancer.ingress] if found else []

    def node(self, name: str) -> core.Node | None:
        return next((found for found in self.api.all(core.Node) if found.metadata.name == name), None)

    def warnings(self) -> list[str]:
        return [event.message for event in self.api.all(core.Event) if event.type == "Warning"]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(account: Account, api: FaultyApi) -> AsyncIterator[Running]:
    client = api.client()
    section = {"region": REGION, "endpointUrl": account.url, "refreshSeconds": 0.0, "tags": {"stage": "test"}}
    settings = CloudSettings(
        provider="aws",
        provider_settings=read_section(AwsSettings, section, "aws"),
        cluster=CLUSTER,
        retry_first_seconds=0.05,
        node_monitor_seconds=0.1,
        route_seconds=0.1,
    )
    manager = CloudControllerManager(client, settings)
    task = asyncio.create_task(manager.run())
    try:
        yield Running(api, client)
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=10)


def fresh_node(account: Account, index: int) -> core.Node:
    """As a kubelet with an external cloud provider registers it: it knows its name, and is tainted."""
    described = account.describe(account.instances[index])
    node = core.Node()
    node.metadata.name = described["PrivateDnsName"]
    node.spec.pod_cidr = f"10.244.{index}.0/24"
    node.spec.pod_cidrs.append(node.spec.pod_cidr)
    node.spec.taints.add(key=UNINITIALIZED, value="true", effect="NoSchedule")
    node.status.conditions.add(type="Ready", status="True")
    return node


async def test_nodes_services_and_routes(account: Account, one_loader: None) -> None:
    before = account.everything()
    api = FaultyApi()
    async with running(account, api) as c:
        nodes = [fresh_node(account, index) for index in range(2)]
        names = [node.metadata.name for node in nodes]
        api.seed(*nodes)
        await c.client.create(service())
        await c.until(lambda: c.hostnames())
        await c.until(lambda: all((found := c.node(name)) and found.spec.provider_id and not found.spec.taints for name in names))
        told = c.node(names[0])
        assert told is not None
        assert told.metadata.labels["topology.kubernetes.io/zone"] == REGION + "a"
        assert told.metadata.labels["node.kubernetes.io/instance-type"] == "t3.large"
        (balancer,) = account.balancers()
        assert c.hostnames() == [balancer["DNSName"]]
        await c.until(lambda: len(account.targets(account.groups()[0])) == 2)
        await c.until(lambda: len(routes(account)) == 2)
        found = c.service()
        assert found is not None
        found.spec.ports[0].port = 8080
        await c.client.update(found)
        await c.until(lambda: [one["Port"] for one in account.listeners()] == [8080])
        await c.client.delete(core.Service, "web", "default")
        await c.until(lambda: c.service() is None)
        assert account.everything() == before
    assert not c.warnings()


async def test_a_manager_that_comes_later_takes_over(account: Account, one_loader: None) -> None:
    api = FaultyApi()
    async with running(account, api) as c:
        for index in range(2):
            await c.client.create(fresh_node(account, index))
        await c.client.create(service())
        await c.client.create(service(name="old", ports=(("TCP", 80, 30081),)))
        await c.until(lambda: c.hostnames() and c.hostnames("old"))
    wanted = c.hostnames()
    async with running(account, api) as c:
        await c.client.delete(core.Service, "old", "default")
        account.ec2.terminate_instances(InstanceIds=[account.instances[1]])
        node = next(node for node in api.all(core.Node) if node.spec.provider_id.endswith(account.instances[1]))
        node.status.conditions[0].status = "False"
        await c.client.update(node, subresource="status")
        await c.until(lambda: c.service("old") is None)
        await c.until(lambda: c.node(node.metadata.name) is None)
        await c.until(lambda: account.targets(account.groups()[0]) == {(account.instances[0], 30080)})
        await c.until(lambda: len(routes(account)) == 1)
        assert len(account.balancers()) == 1
    assert c.hostnames() == wanted


async def test_what_is_refused_is_told_and_mended_by_the_user(account: Account, one_loader: None) -> None:
    async with running(account, FaultyApi()) as c:
        await c.client.create(fresh_node(account, 0))
        await c.client.create(service(annotations={PREFIX + "scheme": "public"}))
        words = f"annotation {PREFIX}scheme: must be internet-facing or internal, not 'public'"
        await c.until(lambda: any(words in text for text in c.warnings()))
        found = c.service()
        assert found is not None
        found.metadata.annotations[PREFIX + "scheme"] = "internal"
        await c.client.update(found)
        await c.until(lambda: c.hostnames())
        assert account.balancer()["Scheme"] == "internal"


def test_a_cluster_of_another_provider_loads_nothing_of_aws() -> None:
    code = "import sys, services.cloud.__main__, services.cloud.providers.local.provider; print({'boto3', 'botocore'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True).stdout == "set()\n"


def routes(account: Account) -> list[str]:
    (table,) = account.ec2.describe_route_tables(RouteTableIds=[account.main_table()])["RouteTables"]
    return [route["DestinationCidrBlock"] for route in table["Routes"] if route.get("InstanceId")]

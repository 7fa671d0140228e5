"""Routes to pods in the network's tables."""

from __future__ import annotations

import pytest

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Unavailable
from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.routes import entries_of, merged
from tests.cloud.aws.account import CLUSTER, Account
from tests.cloud.aws.provider import Driver, changes, driving

CIDR = "10.244.1.0/24"


async def routes(driver: Driver) -> list[cloud.Route]:
    return list((await driver.provider.list_routes(cloud.ListRoutesRequest(cluster=CLUSTER))).routes)


async def create(driver: Driver, node: core.Node, cidr: str = CIDR) -> cloud.Route:
    wanted = cloud.Route(node=node.metadata.name, destination_cidr=cidr)
    return (await driver.provider.create_route(cloud.CreateRouteRequest(cluster=CLUSTER, route=wanted, node=node))).route


async def delete(driver: Driver, route: cloud.Route) -> None:
    await driver.provider.delete_route(cloud.DeleteRouteRequest(cluster=CLUSTER, route=route))


def in_table(account: Account, table: str = "") -> dict[str, str]:
    """Instances by destination."""
    (found,) = account.ec2.describe_route_tables(RouteTableIds=[table or account.main_table()])["RouteTables"]
    return {route["DestinationCidrBlock"]: route["InstanceId"] for route in found["Routes"] if route.get("InstanceId")}


async def test_a_route_comes_and_goes(account: Account, api: AwsApi) -> None:
    nodes = account.nodes()
    async with driving(account, api=api, known=nodes) as driver:
        assert not await routes(driver)
        made = await create(driver, nodes[0])
        assert in_table(account) == {CIDR: account.instances[0]}
        assert not account.describe(account.instances[0])["SourceDestCheck"]
        assert await routes(driver) == [made]
        assert (made.node, made.destination_cidr, made.blackhole) == ("node-0", CIDR, False)
        await delete(driver, made)
        assert not in_table(account)
        await delete(driver, made)


async def test_repeated_it_changes_nothing(account: Account, api: AwsApi) -> None:
    nodes = account.nodes()
    async with driving(account, api=api, known=nodes, refresh_seconds=0.0) as driver:
        made = await create(driver, nodes[0])
        driver.calls()
        assert await create(driver, nodes[0]) == made
        assert not changes(driver.calls())


async def test_a_destination_that_leads_elsewhere_is_turned(account: Account, api: AwsApi) -> None:
    nodes = account.nodes()
    async with driving(account, api=api, known=nodes) as driver:
        old = await create(driver, nodes[0])
        new = await create(driver, nodes[1])
        assert in_table(account) == {CIDR: account.instances[1]}
        # A late wish to remove the old route does not remove the new one.
        await delete(driver, old)
        assert await routes(driver) == [new]


async def test_every_table_of_the_cluster(account: Account, api: AwsApi) -> None:
    nodes = account.nodes()
    tables = [account.ec2.create_route_table(VpcId=account.vpc)["RouteTable"]["RouteTableId"] for _ in range(2)]
    for table in tables:
        account.tag(table, {f"kubernetes.io/cluster/{CLUSTER}": "owned"})
    async with driving(account, api=api, known=nodes) as driver:
        made = await create(driver, nodes[0])
        assert all(in_table(account, table) == {CIDR: account.instances[0]} for table in tables)
        assert not in_table(account)
        # What one table lacks is a hole, and closed by making it once more.
        account.ec2.delete_route(RouteTableId=tables[0], DestinationCidrBlock=CIDR)
        (found,) = await routes(driver)
        assert found.blackhole
        await create(driver, nodes[0])
        assert await routes(driver) == [made]
        await delete(driver, made)
        assert not any(in_table(account, table) for table in tables)
    async with driving(account, api=api, known=nodes, route_tables=(account.main_table(),)) as driver:
        await create(driver, nodes[0])
        assert in_table(account) == {CIDR: account.instances[0]}


async def test_a_node_that_is_gone(account: Account, api: AwsApi) -> None:
    nodes = account.nodes()
    async with driving(account, api=api, known=nodes[1:], refresh_seconds=0.0) as driver:
        await create(driver, nodes[0])
        (found,) = await routes(driver)
        assert (found.node, found.destination_cidr) == ("", CIDR)
        account.ec2.terminate_instances(InstanceIds=[account.instances[0]])
        with pytest.raises(Unavailable, match="node node-0: its instance is not there"):
            await create(driver, nodes[0], "10.244.2.0/24")
        await delete(driver, found)
        assert not await routes(driver)


async def test_only_what_leads_to_instances_is_told(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api, known=account.nodes()) as driver:
        assert not await routes(driver)
        (table,) = account.ec2.describe_route_tables(RouteTableIds=[account.main_table()])["RouteTables"]
        assert len(table["Routes"]) == 2


def test_a_route_to_an_instance_that_aws_has_forgotten() -> None:
    """moto does not turn routes into black holes; this is what AWS answers."""
    table = {
        "RouteTableId": "rtb-1",
        "Routes": [
            {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"},
            {"DestinationIpv6CidrBlock": "::/0", "GatewayId": "igw-1", "State": "active"},
            {"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-1", "State": "active"},
            {"DestinationCidrBlock": CIDR, "NetworkInterfaceId": "eni-1", "State": "blackhole"},
            {"DestinationCidrBlock": "10.244.2.0/24", "InstanceId": "i-2", "State": "active"},
        ],
    }
    found = merged(entries_of([table]), ["rtb-1"], {"i-2": "node-2"})
    assert [(route.destination_cidr, route.node, route.blackhole) for route in found] == [
        (CIDR, "", True),
        ("10.244.2.0/24", "node-2", False),
    ]


async def test_it_may_be_left_to_others(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api, routes=False) as driver:
        assert not (await driver.provider.get_info(cloud.GetInfoRequest())).routes

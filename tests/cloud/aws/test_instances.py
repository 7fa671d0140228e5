"""EC2 instances behind nodes: found by provider id, name or address, and asked for with few calls."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Refused
from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.machines import parse_provider_id
from tests.cloud.aws.account import REGION, Account
from tests.cloud.aws.provider import driving

RUNNING, SHUT_DOWN, GONE = cloud.INSTANCE_STATE_RUNNING, cloud.INSTANCE_STATE_SHUT_DOWN, cloud.INSTANCE_STATE_GONE


def unnamed(name: str, address: str = "") -> core.Node:
    """A node that does not know its provider id."""
    node = core.Node()
    node.metadata.name = name
    if address:
        node.status.addresses.add(type="InternalIP", address=address)
    return node


async def test_what_a_node_learns_of_its_machine(account: Account, api: AwsApi) -> None:
    described = account.describe(account.instances[0])
    async with driving(account, api=api) as driver:
        found = await driver.instance(account.node())
    assert (found.state, found.instance_type, found.zone, found.region) == (RUNNING, "t3.large", REGION + "a", REGION)
    assert found.provider_id == f"aws:///{REGION}a/{account.instances[0]}"
    private, name = described["PrivateIpAddress"], described["PrivateDnsName"]
    wanted = [("InternalIP", private), ("InternalDNS", name), ("Hostname", name)]
    if described.get("PublicIpAddress"):
        wanted += [("ExternalIP", described["PublicIpAddress"]), ("ExternalDNS", described["PublicDnsName"])]
    assert sorted((one.type, one.address) for one in found.addresses) == sorted(wanted)


async def test_a_public_address(account: Account, api: AwsApi) -> None:
    address = account.ec2.allocate_address(Domain="vpc")
    account.ec2.associate_address(InstanceId=account.instances[0], AllocationId=address["AllocationId"])
    async with driving(account, api=api) as driver:
        found = {one.type: one.address for one in (await driver.instance(account.node())).addresses}
    assert found["ExternalIP"] == address["PublicIp"]
    assert found["ExternalDNS"].startswith("ec2-")


async def test_states(account: Account, api: AwsApi) -> None:
    node = account.node()
    async with driving(account, api=api, refresh_seconds=0.0) as driver:
        assert (await driver.instance(node)).state == RUNNING
        account.ec2.stop_instances(InstanceIds=[account.instances[0]])
        assert (await driver.instance(node)).state == SHUT_DOWN
        account.ec2.terminate_instances(InstanceIds=[account.instances[0]])
        assert (await driver.instance(node)).state == GONE
        node.spec.provider_id = f"aws:///{REGION}a/i-0123456789abcdef0"
        assert (await driver.instance(node)).state == GONE


async def test_a_node_without_provider_id(account: Account, api: AwsApi) -> None:
    described = account.describe(account.instances[1])
    async with driving(account, api=api) as driver:
        for node in (
            unnamed(described["PrivateDnsName"]),
            unnamed("worker-1", described["PrivateIpAddress"]),
            unnamed(account.instances[1]),
        ):
            assert (await driver.instance(node)).provider_id.endswith(account.instances[1])
        with pytest.raises(Refused, match=r"node nobody: no EC2 instance has the private DNS name nobody or an address of 192\.0\.2\.1"):
            await driver.instance(unnamed("nobody", "192.0.2.1"))


async def test_an_address_that_two_networks_have(account: Account, api: AwsApi) -> None:
    described = account.describe(account.instances[0])
    other = account.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = account.ec2.create_subnet(VpcId=other, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    account.ec2.run_instances(
        ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=subnet, PrivateIpAddress=described["PrivateIpAddress"]
    )
    node = unnamed("worker-1", described["PrivateIpAddress"])
    async with driving(account, api=api) as driver:
        with pytest.raises(Refused, match=r"node worker-1: it may be one of several instances \(i-.*, i-.*\): set aws.vpc"):
            await driver.instance(node)
    async with driving(account, api=api, vpc=account.vpc) as driver:
        assert (await driver.instance(node)).provider_id.endswith(account.instances[0])


async def test_all_nodes_are_asked_for_with_one_call(account: Account, api: AwsApi) -> None:
    account.furnish(instances=12)
    nodes = account.nodes()
    async with driving(account, api=api, nodes=nodes, known=nodes) as driver:
        found = await asyncio.gather(*(driver.instance(node) for node in nodes * 3))
        assert [one.provider_id for one in found] == [node.spec.provider_id for node in nodes] * 3
        assert driver.calls() == {"ec2:DescribeInstances": 1}
        account.add_instance()
        new = account.node(12)
        assert (await driver.instance(new)).state == RUNNING
        assert driver.calls() == {"ec2:DescribeInstances": 1}
        await asyncio.gather(*(driver.instance(node) for node in [*nodes, new]))
        assert not driver.calls()


async def test_nodes_of_others(account: Account, api: AwsApi) -> None:
    node = account.node()
    async with driving(account, api=api) as driver:
        node.spec.provider_id = "local://node-0"
        with pytest.raises(Refused, match="it is not of provider aws: its providerID 'local://node-0' is not of the form"):
            await driver.instance(node)
        node.spec.provider_id = "aws:///us-east-1a/i-0123456789abcdef0"
        with pytest.raises(Refused, match=f"its instance is in zone us-east-1a, outside of aws.region {REGION}"):
            await driver.instance(node)
        assert not driver.calls()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("aws:///eu-west-1a/i-0123456789abcdef0", ("eu-west-1a", "i-0123456789abcdef0")),
        ("aws:////i-12345678", ("", "i-12345678")),
        ("aws:///eu-west-1a/i-xyz", None),
        ("aws:///eu-west-1a/", None),
        ("aws:///eu-west-1a/i-12345678\n", None),
        ("gce://eu-west-1a/i-12345678", None),
        ("i-12345678", None),
        ("", None),
    ],
)
def test_provider_ids(text: str, wanted: tuple[str, str] | None) -> None:
    assert parse_provider_id(text) == wanted

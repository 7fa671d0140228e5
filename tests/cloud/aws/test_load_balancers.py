"""Load balancers of Services in an AWS account."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Refused
from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.options import PREFIX
from tests.cloud.aws.account import CLUSTER, REGION, Account
from tests.cloud.aws.provider import changes, driving, service

DESCRIBED_FOR_ONE_PORT = 10


async def test_a_service_gets_a_network_load_balancer(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        made = await driver.ensure(service())
        balancer = account.balancer()
        assert [entry.hostname for entry in made.status.ingress] == [balancer["DNSName"]]
        assert not made.limitations
        assert (balancer["Type"], balancer["Scheme"], balancer["VpcId"]) == ("network", "internet-facing", account.vpc)
        assert len(balancer["LoadBalancerName"]) <= 32
        assert zones(account) == set(account.subnets.values())
        (group,) = account.groups()
        assert (group["Protocol"], group["Port"], group["TargetType"]) == ("TCP", 30080, "instance")
        assert account.targets(group) == {(instance, 30080) for instance in account.instances}
        (listener,) = account.listeners()
        assert (listener["Port"], listener["Protocol"]) == (80, "TCP")
        assert listener["DefaultActions"][0]["TargetGroupArn"] == group["TargetGroupArn"]
        own = account.security_groups()[balancer["LoadBalancerName"]]
        assert balancer["SecurityGroups"] == [own["GroupId"]]
        assert account.openings(balancer["LoadBalancerName"]) == {("tcp", 80, "0.0.0.0/0")}
        assert account.openings("nodes") == {("tcp", 30080, own["GroupId"])}
        for arn in (balancer["LoadBalancerArn"], group["TargetGroupArn"], listener["ListenerArn"]):
            assert account.tags(arn) == {f"kubernetes.io/cluster/{CLUSTER}": "owned", "kubernetes.io/service-name": "default/web"}


async def test_an_unchanged_service_is_only_described(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        before = account.everything()
        driver.calls()
        await driver.ensure(service())
        calls = driver.calls()
        assert not changes(calls)
        assert sum(calls.values()) == DESCRIBED_FOR_ONE_PORT, calls
        # Of a second port: its target group's attributes and health, its listener's attributes.
        await driver.ensure(service(ports=(("TCP", 80, 30080), ("TCP", 443, 30443))))
        driver.calls()
        await driver.ensure(service(ports=(("TCP", 80, 30080), ("TCP", 443, 30443))))
        assert sum(driver.calls().values()) == DESCRIBED_FOR_ONE_PORT + 3
        await driver.ensure(service())
        assert account.everything() == before


async def test_a_change_of_nodes_costs_few_calls(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        driver.calls()
        made = await driver.update(service(), [account.node(0)])
        assert made.status.ingress[0].hostname == account.balancer()["DNSName"]
        assert changes(driver.calls()) == {"elasticloadbalancing:DeregisterTargets": 1}
        assert account.targets(account.groups()[0]) == {(account.instances[0], 30080)}
        # Within its zones, another node is only another target.
        await driver.update(service(), account.nodes())
        account.add_instance("b")
        driver.calls()
        await driver.update(service(), account.nodes())
        calls = driver.calls()
        assert changes(calls) == {"elasticloadbalancing:RegisterTargets": 1}
        assert set(calls) - set(changes(calls)) <= {
            "ec2:DescribeInstances",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
        }
        assert account.targets(account.groups()[0]) == {(instance, 30080) for instance in account.instances}


async def test_another_node_port(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        (listener,) = account.listeners()
        await driver.ensure(service(ports=(("TCP", 80, 31000),)))
        (group,) = account.groups()
        assert account.targets(group) == {(instance, 31000) for instance in account.instances}
        assert {opening[:2] for opening in account.openings("nodes")} == {("tcp", 31000)}
        (turned,) = account.listeners()
        assert (turned["ListenerArn"], turned["DefaultActions"][0]["TargetGroupArn"]) == (listener["ListenerArn"], group["TargetGroupArn"])


async def test_an_instance_that_does_not_run_keeps_no_other_from_traffic(account: Account, api: AwsApi) -> None:
    account.ec2.stop_instances(InstanceIds=[account.instances[1]])
    async with driving(account, api=api) as driver:
        made = await driver.ensure(service())
        assert account.targets(account.groups()[0]) == {(account.instances[0], 30080)}
        assert list(made.limitations) == ["node node-1: its instance is stopped; it gets no traffic"]


async def test_an_update_mends_what_is_missing(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        before = account.everything()
        account.elb.delete_load_balancer(LoadBalancerArn=account.balancer()["LoadBalancerArn"])
        await driver.update(service(), driver.nodes)
        assert account.everything() == before
    async with driving(account, api=api) as another:
        await another.update(service(name="api"), another.nodes)
        assert len(account.balancers()) == 2


async def test_nothing_is_left_behind(account: Account, api: AwsApi) -> None:
    before = account.everything()
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        await driver.ensure(service(name="api"))
        assert account.everything() != before
        await driver.delete(service())
        assert len(account.balancers()) == 1
        await driver.delete(service(name="api"))
        await driver.delete(service(name="api"))
        assert account.everything() == before


async def test_two_services_and_two_lives_do_not_meet(account: Account, api: AwsApi) -> None:
    """Long names that begin alike, and a Service made anew under its name."""
    names = ("a-very-long-name-of-a-service-1", "a-very-long-name-of-a-service-2")
    again = service(name=names[0])
    again.metadata.uid = "another"
    async with driving(account, api=api) as driver:
        for one in (service(name=names[0]), service(name=names[1]), again):
            await driver.ensure(one)
        found = [balancer["LoadBalancerName"] for balancer in account.balancers()]
        assert len(set(found)) == 3
        assert all(len(name) <= 32 and not name.endswith("-") for name in found)
        await driver.delete(service(name=names[0]))
        assert [balancer["LoadBalancerName"] for balancer in account.balancers()] == found[1:]
        assert len(account.groups()) == 2


async def test_one_port_with_both_protocols(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        await driver.ensure(service(ports=(("TCP", 53, 30053), ("UDP", 53, 30053))))
        assert [(one["Port"], one["Protocol"]) for one in account.listeners()] == [(53, "TCP_UDP")]
        assert {(protocol, port) for protocol, port, _ in account.openings("nodes")} == {("tcp", 30053), ("udp", 30053)}
        with pytest.raises(Refused, match=r"spec.ports\[1\].nodePort: port 53 has TCP and UDP, .* not 30053 and 30054"):
            await driver.ensure(service(ports=(("TCP", 53, 30053), ("UDP", 53, 30054))))


async def test_udp_alone_is_checked_at_the_kubelet(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        await driver.ensure(service(ports=(("UDP", 53, 30053),)))
        (group,) = account.groups()
        assert (group["HealthCheckProtocol"], group["HealthCheckPort"]) == ("TCP", "10250")
        assert {opening[:2] for opening in account.openings("nodes")} == {("udp", 30053), ("tcp", 10250)}


async def test_local_traffic_is_checked_by_http(account: Account, api: AwsApi) -> None:
    local = service()
    local.spec.external_traffic_policy, local.spec.health_check_node_port = "Local", 32000
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        await driver.ensure(local)
        (group,) = account.groups()
        assert (group["HealthCheckProtocol"], group["HealthCheckPort"], group["HealthCheckPath"]) == ("HTTP", "32000", "/healthz")
        assert {opening[:2] for opening in account.openings("nodes")} == {("tcp", 30080), ("tcp", 32000)}
        await driver.ensure(service())
        (group,) = account.groups()
        assert (group["HealthCheckProtocol"], group["HealthCheckPort"]) == ("TCP", "traffic-port")
        assert {opening[:2] for opening in account.openings("nodes")} == {("tcp", 30080)}
        driver.calls()
        await driver.ensure(service())
        assert not changes(driver.calls())


async def test_only_these_clients(account: Account, api: AwsApi) -> None:
    limited = service()
    limited.spec.load_balancer_source_ranges.extend(["198.51.100.0/24", " 203.0.113.7/32 "])
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        name = account.balancer()["LoadBalancerName"]
        await driver.ensure(limited)
        assert account.openings(name) == {("tcp", 80, "198.51.100.0/24"), ("tcp", 80, "203.0.113.7/32")}
        limited.spec.load_balancer_source_ranges[:] = ["2001:db8::/32"]
        with pytest.raises(Refused, match=r"spec.loadBalancerSourceRanges: 2001:db8::/32: .* IPv4 only"):
            await driver.ensure(limited)


async def test_options_are_brought_about_and_taken_back(account: Account, api: AwsApi) -> None:
    options = {
        "cross-zone-load-balancing-enabled": "true",
        "target-group-attributes": "deregistration_delay.timeout_seconds=30,preserve_client_ip.enabled=false",
        "connection-idle-timeout": "600",
        "healthcheck-interval": "20",
        "additional-resource-tags": "team=shop",
    }
    async with driving(account, api=api, tags={"stage": "test"}) as driver:
        await driver.ensure(service())
        plain = account.everything()
        await driver.ensure(service(annotations={PREFIX + name: value for name, value in options.items()}))
        (group,) = account.groups()
        assert account.attributes()["load_balancing.cross_zone.enabled"] == "true"
        found = account.attributes(group)
        assert (found["deregistration_delay.timeout_seconds"], found["preserve_client_ip.enabled"]) == ("30", "false")
        assert group["HealthCheckIntervalSeconds"] == 20
        assert idle_timeout(account) == "600"
        for arn in (account.balancer()["LoadBalancerArn"], group["TargetGroupArn"]):
            assert account.tags(arn).items() >= {"team": "shop", "stage": "test"}.items()
        await driver.ensure(service())
        assert idle_timeout(account) == "350"
        found = account.attributes(account.groups()[0])
        assert (found["deregistration_delay.timeout_seconds"], found["preserve_client_ip.enabled"]) == ("300", "true")
        # Tags stay, for they may be somebody else's.
        assert without(account.everything(), "team", "preserve_client_ip") == without(plain, "team", "preserve_client_ip")


async def test_session_affinity_holds_a_client_at_its_node(account: Account, api: AwsApi) -> None:
    sticky = service()
    sticky.spec.session_affinity = "ClientIP"
    async with driving(account, api=api) as driver:
        await driver.ensure(sticky)
        found = account.attributes(account.groups()[0])
        assert (found["stickiness.enabled"], found["stickiness.type"]) == ("true", "source_ip")
        await driver.ensure(service())
        assert account.attributes(account.groups()[0])["stickiness.enabled"] == "false"


async def test_what_others_have_changed_is_mended(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        before = account.everything()
        (group,), (listener,), balancer = account.groups(), account.listeners(), account.balancer()
        own = balancer["LoadBalancerName"]
        account.elb.deregister_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": account.instances[0], "Port": 30080}])
        account.elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": account.add_instance(), "Port": 30080}])
        account.elb.delete_listener(ListenerArn=listener["ListenerArn"])
        account.elb.remove_tags(ResourceArns=[group["TargetGroupArn"]], TagKeys=["kubernetes.io/service-name"])
        account.ec2.authorize_security_group_ingress(
            GroupId=account.security_groups()[own]["GroupId"],
            IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
        )
        account.ec2.revoke_security_group_ingress(GroupId=account.group, IpPermissions=account.security_groups()["nodes"]["IpPermissions"])
        assert account.everything() != before
        await driver.ensure(service())
        assert account.everything() == before


async def test_rules_of_others_on_the_nodes_stay(account: Account, api: AwsApi) -> None:
    account.ec2.authorize_security_group_ingress(
        GroupId=account.group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    )
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        await driver.delete(service())
        assert account.openings("nodes") == {("tcp", 22, "10.0.0.0/8")}


async def test_own_security_groups(account: Account, api: AwsApi) -> None:
    mine = account.ec2.create_security_group(GroupName="mine", Description="mine", VpcId=account.vpc)["GroupId"]
    annotations = {PREFIX + "security-groups": mine}
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        await driver.ensure(service(annotations=annotations))
        assert account.balancer()["SecurityGroups"] == [mine]
        assert set(account.security_groups()) == {"default", "nodes", "mine"}
        assert not account.openings("nodes")
        annotations[PREFIX + "manage-backend-security-group-rules"] = "true"
        await driver.ensure(service(annotations=annotations))
        assert account.openings("nodes") == {("tcp", 30080, mine)}
        await driver.delete(service(annotations=annotations))
        assert not account.openings("nodes")
        assert "mine" in account.security_groups()


async def test_nodes_with_several_security_groups(account: Account, api: AwsApi) -> None:
    other = account.ec2.create_security_group(GroupName="other", Description="other", VpcId=account.vpc)["GroupId"]
    account.add_instance("a", [account.group, other])
    async with driving(account, api=api, refresh_seconds=0.0) as driver:
        with pytest.raises(Refused, match=rf"give one of them the tag kubernetes.io/cluster/{CLUSTER}, or set aws.nodeSecurityGroups"):
            await driver.ensure(service())
        assert not account.balancers()
        account.tag(account.group, {f"kubernetes.io/cluster/{CLUSTER}": "owned"})
        await driver.ensure(service())
        assert account.openings("nodes")
        assert not account.openings("other")
    async with driving(account, api=api, node_security_groups=(other,)) as driver:
        await driver.ensure(service())
        assert not account.openings("nodes")
        assert account.openings("other")


async def test_subnets_by_tag_by_name_and_by_configuration(account: Account, api: AwsApi) -> None:
    private = {zone: account.add_subnet(zone, f"10.0.1{index}.0/24", {"Name": f"private-{zone}"}) for index, zone in enumerate("ab")}
    table = account.ec2.create_route_table(VpcId=account.vpc)["RouteTable"]["RouteTableId"]
    for subnet in private.values():
        account.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    internal = {PREFIX + "scheme": "internal"}
    async with driving(account, api=api, refresh_seconds=0.0) as driver:
        await driver.ensure(service())
        assert zones(account) == set(account.subnets.values())
        await driver.ensure(service(annotations=internal))
        assert zones(account) == set(private.values())
        await driver.ensure(service(annotations={PREFIX + "subnets": f"{account.subnets[REGION + 'a']}, private-b"}))
        assert zones(account) == {account.subnets[REGION + "a"], private["b"]}
        with pytest.raises(Refused, match=rf"annotation {PREFIX}subnets: there is no subnet with the id or name 'nowhere'"):
            await driver.ensure(service(annotations={PREFIX + "subnets": "nowhere"}))
        with pytest.raises(Refused, match=rf"are both in zone {REGION}a: name one for each zone"):
            await driver.ensure(service(annotations={PREFIX + "subnets": f"{account.subnets[REGION + 'a']},private-a"}))
        await driver.delete(service())
        for subnet in account.subnets.values():
            account.tag(subnet, {"kubernetes.io/role/internal-elb": "1"})
        await driver.ensure(service(annotations=internal))
        assert zones(account) == set(account.subnets.values())
        await driver.delete(service())
    async with driving(account, api=api, subnets=tuple(private.values())) as driver:
        await driver.ensure(service())
        assert zones(account) == set(private.values())


async def test_a_zone_comes_with_its_first_node_and_stays(account: Account, api: AwsApi) -> None:
    account.subnets[REGION + "c"] = account.add_subnet("c", "10.0.2.0/24")
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        assert len(zones(account)) == 2
        account.add_instance("c")
        await driver.update(service(), account.nodes())
        assert zones(account) == set(account.subnets.values())
        driver.calls()
        await driver.update(service(), account.nodes()[:1])
        assert changes(driver.calls()) == {"elasticloadbalancing:DeregisterTargets": 1}
        assert zones(account) == set(account.subnets.values())


async def test_no_node_at_all(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api, nodes=[]) as driver:
        with pytest.raises(Refused, match=r"aws.vpc: must be set, for no node is an EC2 instance"):
            await driver.ensure(service())
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        await driver.ensure(service(), [])
        assert len(account.balancers()) == 1
        assert not account.targets(account.groups()[0])


async def test_nodes_that_are_elsewhere_get_no_traffic(account: Account, api: AwsApi) -> None:
    stranger, far = core.Node(), account.node(1)
    stranger.metadata.name, stranger.spec.provider_id = "stranger", "local://stranger"
    far.spec.provider_id = "aws:///us-east-1a/i-0123456789abcdef0"
    async with driving(account, api=api) as driver:
        made = await driver.ensure(service(), [account.node(0), stranger, far])
        assert account.targets(account.groups()[0]) == {(account.instances[0], 30080)}
        assert [text.split(":")[0] for text in made.limitations] == ["node stranger", "node node-1"]
        assert all(text.endswith("; it gets no traffic") for text in made.limitations)


def _sctp(one: core.Service) -> None:
    one.spec.ports[0].protocol = "SCTP"


def _without_node_port(one: core.Service) -> None:
    one.spec.ports[0].node_port = 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_sctp, r"spec.ports\[0\].protocol: a network load balancer carries TCP and UDP, not SCTP"),
        (_without_node_port, r"spec.ports\[0\].nodePort: must be set: targets are nodes"),
    ],
)
async def test_what_it_cannot_do_is_refused_before_anything_is_made(account: Account, api: AwsApi, change: Any, words: str) -> None:
    wrong = service()
    change(wrong)
    before = account.everything()
    async with driving(account, api=api) as driver:
        with pytest.raises(Refused, match=words):
            await driver.ensure(wrong)
        assert not changes(driver.calls())
    assert account.everything() == before


async def test_another_clusters_load_balancer_is_left_alone(account: Account, api: AwsApi) -> None:
    async with driving(account, api=api) as driver:
        await driver.ensure(service())
        arn = account.balancer()["LoadBalancerArn"]
        account.elb.add_tags(ResourceArns=[arn], Tags=[{"Key": "kubernetes.io/service-name", "Value": "default/other"}])
        driver.calls()
        for call in (driver.ensure, driver.delete):
            with pytest.raises(Refused, match="it is another's; remove it or its tag"):
                await call(service())
        assert not changes(driver.calls())


def zones(account: Account) -> set[str]:
    return {zone["SubnetId"] for zone in account.balancer()["AvailabilityZones"]}


def idle_timeout(account: Account) -> str:
    (listener,) = account.listeners()
    found = account.elb.describe_listener_attributes(ListenerArn=listener["ListenerArn"])["Attributes"]
    return str(next(one["Value"] for one in found if one["Key"] == "tcp.idle_timeout.seconds"))


def without(text: str, *words: str) -> list[str]:
    return [line.rstrip(",") for line in text.splitlines() if not any(word in line for word in words)]

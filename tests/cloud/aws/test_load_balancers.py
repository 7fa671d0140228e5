"""Load balancers of Services in an AWS account."""

from __future__ import annotations

from tests.cloud.aws.account import CLUSTER, Account
from tests.cloud.aws.provider import changes, driving, service


async def test_a_service_gets_a_network_load_balancer(account: Account) -> None:
    async with driving(account) as driver:
        made = await driver.ensure(service())
        balancer = account.balancer()
        assert [entry.hostname for entry in made.status.ingress] == [balancer["DNSName"]]
        assert not made.limitations
        assert (balancer["Type"], balancer["Scheme"], balancer["VpcId"]) == ("network", "internet-facing", account.vpc)
        assert len(balancer["LoadBalancerName"]) <= 32
        assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == set(account.subnets.values())
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


async def test_an_unchanged_service_is_only_described(account: Account) -> None:
    async with driving(account) as driver:
        await driver.ensure(service())
        before = account.everything()
        driver.calls()
        await driver.ensure(service())
        calls = driver.calls()
        assert not changes(calls)
        assert sum(calls.values()) <= 10, calls
        assert account.everything() == before


async def test_nothing_is_left_behind(account: Account) -> None:
    before = account.everything()
    async with driving(account) as driver:
        await driver.ensure(service())
        assert account.everything() != before
        await driver.delete(service())
        assert account.everything() == before

"""Takes the steps: one call to AWS each. Repeating a step that was taken already is no error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.cloud.errors import Unavailable
from services.cloud.providers.aws.api import Absent, AwsApi, portions
from services.cloud.providers.aws.model import HealthCheck, Listener, Observed, Opening, Target, TargetGroup
from services.cloud.providers.aws.observe import IDLE_TIMEOUT
from services.cloud.providers.aws.steps import (
    OWN_GROUP,
    AddTags,
    CloseGroup,
    CreateListener,
    CreateLoadBalancer,
    CreateSecurityGroup,
    CreateTargetGroup,
    DeleteListener,
    DeleteLoadBalancer,
    DeleteSecurityGroup,
    DeleteTargetGroup,
    DeregisterTargets,
    ModifyListener,
    OpenGroup,
    RegisterTargets,
    SetAttributes,
    SetHealthCheck,
    SetIdleTimeout,
    SetSecurityGroups,
    SetSubnets,
    SetTargetGroupAttributes,
    Step,
)

# AWS takes no more targets in a call.
TARGETS = 100


class Executor:
    """Takes steps for one Service, and knows the ids of what was there and what it has made."""

    def __init__(self, api: AwsApi, observed: Observed) -> None:
        self._api = api
        self._balancer = observed.balancer.arn if observed.balancer else ""
        self.dns_name = observed.balancer.dns_name if observed.balancer else ""
        self._own_group = observed.security_group.group_id if observed.security_group else ""
        self._groups = {group.name: group.arn for group in observed.groups}
        self._listeners = {listener.port: listener.arn for listener in observed.listeners}

    async def take(self, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._take(step)

    async def _take(self, step: Step) -> None:
        match step:
            case CreateSecurityGroup(name, vpc, description, tags):
                await self._create_security_group(name, vpc, description, tags)
            case OpenGroup(group, openings, description):
                await self._open(self._id(group), openings, description)
            case CloseGroup(group, openings, description):
                await self._close(self._id(group), openings, description)
            case DeleteSecurityGroup(group):
                await self._remove("ec2:DeleteSecurityGroup", "InvalidGroup.NotFound", GroupId=group)
            case CreateLoadBalancer():
                await self._create_balancer(step)
            case SetSubnets(subnets):
                await self._elb("SetSubnets", LoadBalancerArn=self._balancer, Subnets=list(subnets))
            case SetSecurityGroups(groups):
                await self._elb("SetSecurityGroups", LoadBalancerArn=self._balancer, SecurityGroups=self._ids(groups))
            case SetAttributes(attributes):
                await self._elb("ModifyLoadBalancerAttributes", LoadBalancerArn=self._balancer, Attributes=_pairs(attributes))
            case DeleteLoadBalancer():
                await self._remove("elasticloadbalancing:DeleteLoadBalancer", "LoadBalancerNotFound", LoadBalancerArn=self._balancer)
            case CreateTargetGroup(target_group, vpc, tags):
                await self._create_group(target_group, vpc, tags)
            case SetHealthCheck(group, health):
                await self._elb("ModifyTargetGroup", TargetGroupArn=self._groups[group], **_health(health))
            case SetTargetGroupAttributes(group, attributes):
                await self._elb("ModifyTargetGroupAttributes", TargetGroupArn=self._groups[group], Attributes=_pairs(attributes))
            case RegisterTargets(group, targets):
                for some in portions(sorted(targets), TARGETS):
                    await self._elb("RegisterTargets", TargetGroupArn=self._groups[group], Targets=_targets(some))
            case DeregisterTargets(group, targets):
                for some in portions(sorted(targets), TARGETS):
                    await self._elb("DeregisterTargets", TargetGroupArn=self._groups[group], Targets=_targets(some))
            case DeleteTargetGroup(group):
                await self._remove("elasticloadbalancing:DeleteTargetGroup", "TargetGroupNotFound", TargetGroupArn=self._groups[group])
            case CreateListener(listener, tags):
                answer = await self._elb("CreateListener", LoadBalancerArn=self._balancer, Tags=_tags(tags), **self._listener(listener))
                self._listeners[listener.port] = answer["Listeners"][0]["ListenerArn"]
            case ModifyListener(arn, listener):
                await self._elb("ModifyListener", ListenerArn=arn, DefaultActions=self._forward(listener))
            case SetIdleTimeout(port, seconds):
                attributes = {IDLE_TIMEOUT: str(seconds)}
                await self._elb("ModifyListenerAttributes", ListenerArn=self._listeners[port], Attributes=_pairs(attributes))
            case DeleteListener(arn):
                await self._remove("elasticloadbalancing:DeleteListener", "ListenerNotFound", ListenerArn=arn)
            case AddTags(thing, tags):
                await self._add_tags(thing, tags)

    async def _elb(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._api.call(f"elasticloadbalancing:{operation}", **parameters)

    async def _remove(self, action: str, absent: str, **which: str) -> None:
        try:
            await self._api.call(action, absent=(absent,), **which)
        except Absent:
            return

    async def _create_security_group(self, name: str, vpc: str, description: str, tags: Mapping[str, str]) -> None:
        answer = await self._api.call(
            "ec2:CreateSecurityGroup",
            GroupName=name,
            Description=description,
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": _tags(tags)}],
        )
        self._own_group = answer["GroupId"]

    async def _create_balancer(self, step: CreateLoadBalancer) -> None:
        answer = await self._elb(
            "CreateLoadBalancer",
            Name=step.name,
            Type="network",
            Scheme=step.scheme,
            Subnets=list(step.subnets),
            SecurityGroups=self._ids(step.security_groups),
            Tags=_tags(step.tags),
        )
        made = answer["LoadBalancers"][0]
        self._balancer, self.dns_name = made["LoadBalancerArn"], made["DNSName"]

    async def _create_group(self, group: TargetGroup, vpc: str, tags: Mapping[str, str]) -> None:
        answer = await self._elb(
            "CreateTargetGroup",
            Name=group.name,
            Protocol=group.protocol,
            Port=group.port,
            VpcId=vpc,
            TargetType="instance",
            Tags=_tags(tags),
            **_health(group.health),
        )
        self._groups[group.name] = answer["TargetGroups"][0]["TargetGroupArn"]

    async def _open(self, group: str, openings: Iterable[Opening], description: str) -> None:
        action = "ec2:AuthorizeSecurityGroupIngress"
        # One by one where AWS has some of them already: it refuses all for the sake of one.
        try:
            await self._api.call(
                action, absent=("InvalidPermission.Duplicate",), GroupId=group, IpPermissions=self._permissions(openings, description)
            )
        except Absent:
            for one in sorted(openings):
                try:
                    permissions = self._permissions([one], description)
                    await self._api.call(action, absent=("InvalidPermission.Duplicate",), GroupId=group, IpPermissions=permissions)
                except Absent:
                    continue

    async def _close(self, group: str, openings: Iterable[Opening], description: str) -> None:
        await self._api.call("ec2:RevokeSecurityGroupIngress", GroupId=group, IpPermissions=self._permissions(openings, description))

    async def _add_tags(self, thing: str, tags: Mapping[str, str]) -> None:
        if thing.startswith("arn:"):
            await self._elb("AddTags", ResourceArns=[thing], Tags=_tags(tags))
        else:
            await self._api.call("ec2:CreateTags", Resources=[thing], Tags=_tags(tags))

    def _permissions(self, openings: Iterable[Opening], description: str) -> list[dict[str, Any]]:
        return [self._permission(opening, {"Description": description} if description else {}) for opening in sorted(openings)]

    def _permission(self, opening: Opening, marks: Mapping[str, str]) -> dict[str, Any]:
        permission: dict[str, Any] = {"IpProtocol": opening.protocol, "FromPort": opening.port, "ToPort": opening.port}
        if "/" in opening.source:
            return {**permission, "IpRanges": [{"CidrIp": opening.source, **marks}]}
        return {**permission, "UserIdGroupPairs": [{"GroupId": self._id(opening.source), **marks}]}

    def _listener(self, listener: Listener) -> dict[str, Any]:
        return {"Protocol": listener.protocol, "Port": listener.port, "DefaultActions": self._forward(listener)}

    def _forward(self, listener: Listener) -> list[dict[str, str]]:
        return [{"Type": "forward", "TargetGroupArn": self._groups[listener.group]}]

    def _id(self, group: str) -> str:
        if group != OWN_GROUP:
            return group
        if not self._own_group:
            raise Unavailable("the security group of the load balancer is not there yet")
        return self._own_group

    def _ids(self, groups: Iterable[str]) -> list[str]:
        return [self._id(group) for group in groups]


def _health(health: HealthCheck) -> dict[str, Any]:
    found = {
        "HealthCheckProtocol": health.protocol,
        "HealthCheckPort": health.port,
        "HealthCheckIntervalSeconds": health.interval_seconds,
        "HealthCheckTimeoutSeconds": health.timeout_seconds,
        "HealthyThresholdCount": health.healthy_threshold,
        "UnhealthyThresholdCount": health.unhealthy_threshold,
    }
    if health.path:
        found |= {"HealthCheckPath": health.path, "Matcher": {"HttpCode": health.success_codes}}
    return found


def _pairs(attributes: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(attributes.items())]


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return _pairs(tags)


def _targets(targets: Iterable[Target]) -> list[dict[str, Any]]:
    return [{"Id": target.instance_id, "Port": target.port} for target in targets]

"""Reads what is there for a Service. Describes only; changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from services.cloud.errors import Refused
from services.cloud.providers.aws.api import Absent, AwsApi, portions
from services.cloud.providers.aws.model import (
    HealthCheck,
    Observed,
    ObservedBalancer,
    ObservedGroup,
    ObservedListener,
    ObservedSecurityGroup,
    Opening,
    Target,
)
from services.cloud.providers.aws.names import Names

# AWS answers the tags of so many things in a call, and takes so many values in a filter.
THINGS_WITH_TAGS = 20
IDLE_TIMEOUT = "tcp.idle_timeout.seconds"


class Observer:
    """Looks at the things of one Service."""

    def __init__(self, api: AwsApi, names: Names) -> None:
        self._api = api
        self._names = names

    async def all(self, *, thorough: bool, security_groups: Collection[str] = ()) -> Observed:
        """Everything. ``thorough``: also target groups that no load balancer uses, which a crash has left. ``security_groups``: those that
        the Service names; what they may reach on the nodes is looked for too.
        """
        described, security_group = await asyncio.gather(self._balancer(), self._security_group())
        arn = described["LoadBalancerArn"] if described else ""
        groups, listeners, attributes = await asyncio.gather(
            self._groups(arn, thorough), self._listeners(arn), self._balancer_attributes(arn)
        )
        sources = {*security_groups, *(described or {}).get("SecurityGroups", ())}
        if security_group:
            sources.add(security_group.group_id)
        found, tags, openings = await asyncio.gather(
            self._with_details(groups),
            self._tags([*([arn] if arn else []), *(group["TargetGroupArn"] for group in groups)]),
            self._node_openings(sources),
        )
        balancer = _balancer(described, attributes, tags.get(arn, {})) if described else None
        if balancer:
            self._check_owner(balancer.tags)
        detailed = tuple(_group(group, own, targets, tags.get(group["TargetGroupArn"], {})) for group, own, targets in found)
        return Observed(balancer, listeners, detailed, security_group, openings)

    async def targets(self) -> Observed:
        """Load balancer and target groups with their targets, without tags, attributes and security groups."""
        described = await self._balancer()
        if described is None:
            return Observed()
        groups = await self._groups(described["LoadBalancerArn"], thorough=False)
        targets = await asyncio.gather(*(self._registered(group["TargetGroupArn"]) for group in groups))
        found = tuple(_group(group, {}, registered, {}) for group, registered in zip(groups, targets, strict=True))
        return Observed(_balancer(described, {}, {}), groups=found)

    async def _balancer(self) -> dict[str, Any] | None:
        action = "elasticloadbalancing:DescribeLoadBalancers"
        try:
            answer = await self._api.call(action, absent=("LoadBalancerNotFound",), Names=[self._names.load_balancer])
        except Absent:
            return None
        found: list[dict[str, Any]] = answer["LoadBalancers"]
        return found[0] if found else None

    def _check_owner(self, tags: Mapping[str, str]) -> None:
        for key, value in self._names.tags.items():
            if tags.get(key, value) != value:
                raise Refused(
                    f"load balancer {self._names.load_balancer} is there and has the tag {key}={tags[key]} instead of {value}: "
                    "it is another's; remove it or its tag"
                )

    async def _groups(self, balancer: str, thorough: bool) -> list[dict[str, Any]]:
        action, key = "elasticloadbalancing:DescribeTargetGroups", "TargetGroups"
        if thorough:
            found = await self._api.pages(action, key)
        elif balancer:
            found = await self._api.pages(action, key, LoadBalancerArn=balancer)
        else:
            found = []
        ours = [group for group in found if group["TargetGroupName"].startswith(self._names.group_prefix)]
        return sorted(ours, key=lambda group: str(group["TargetGroupName"]))

    async def _listeners(self, balancer: str) -> tuple[ObservedListener, ...]:
        if not balancer:
            return ()
        action = "elasticloadbalancing:DescribeListeners"
        try:
            found = await self._api.pages(action, "Listeners", absent=("LoadBalancerNotFound",), LoadBalancerArn=balancer)
        except Absent:
            return ()
        timeouts = await asyncio.gather(*(self._idle_timeout(listener) for listener in found))
        return tuple(_listener(listener, timeout) for listener, timeout in zip(found, timeouts, strict=True))

    async def _idle_timeout(self, listener: Mapping[str, Any]) -> int:
        if listener["Protocol"] == "UDP":
            return 0
        action = "elasticloadbalancing:DescribeListenerAttributes"
        attributes = await self._attributes(action, "ListenerNotFound", ListenerArn=listener["ListenerArn"])
        return int(attributes.get(IDLE_TIMEOUT, 0))

    async def _balancer_attributes(self, balancer: str) -> dict[str, str]:
        if not balancer:
            return {}
        return await self._attributes(
            "elasticloadbalancing:DescribeLoadBalancerAttributes", "LoadBalancerNotFound", LoadBalancerArn=balancer
        )

    async def _with_details(self, groups: Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, str], frozenset[Target]]]:
        async def details(group: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str], frozenset[Target]]:
            arn, action = group["TargetGroupArn"], "elasticloadbalancing:DescribeTargetGroupAttributes"
            attributes = self._attributes(action, "TargetGroupNotFound", TargetGroupArn=arn)
            return group, *await asyncio.gather(attributes, self._registered(arn))

        return list(await asyncio.gather(*(details(group) for group in groups)))

    async def _attributes(self, action: str, absent: str, **which: str) -> dict[str, str]:
        try:
            answer = await self._api.call(action, absent=(absent,), **which)
        except Absent:
            return {}
        return {one["Key"]: one["Value"] for one in answer["Attributes"]}

    async def _registered(self, group: str) -> frozenset[Target]:
        action = "elasticloadbalancing:DescribeTargetHealth"
        try:
            answer = await self._api.call(action, absent=("TargetGroupNotFound",), TargetGroupArn=group)
        except Absent:
            return frozenset()
        return frozenset(
            Target(one["Target"]["Id"], one["Target"]["Port"])
            for one in answer["TargetHealthDescriptions"]
            if one["TargetHealth"]["State"] != "draining"
        )

    async def _tags(self, arns: Iterable[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for some in portions(arns, THINGS_WITH_TAGS):
            try:
                answer = await self._api.call(
                    "elasticloadbalancing:DescribeTags", absent=("LoadBalancerNotFound", "TargetGroupNotFound"), ResourceArns=list(some)
                )
            except Absent:
                continue
            found |= {one["ResourceArn"]: _tags_of(one) for one in answer["TagDescriptions"]}
        return found

    async def _security_group(self) -> ObservedSecurityGroup | None:
        filters = [{"Name": "group-name", "Values": [self._names.load_balancer]}]
        found = await self._api.pages("ec2:DescribeSecurityGroups", "SecurityGroups", Filters=filters)
        ours = [group for group in found if self._names.tags.items() <= _tags_of(group).items()]
        if not ours:
            return None
        return ObservedSecurityGroup(ours[0]["GroupId"], ours[0].get("VpcId", ""), frozenset(_openings(ours[0], None)), _tags_of(ours[0]))

    async def _node_openings(self, sources: Collection[str]) -> dict[str, frozenset[Opening]]:
        if not sources:
            return {}
        filters = [{"Name": "ip-permission.group-id", "Values": sorted(sources)}]
        found = await self._api.pages("ec2:DescribeSecurityGroups", "SecurityGroups", Filters=filters)
        openings = {group["GroupId"]: frozenset(_openings(group, self._names.rule_description)) for group in found}
        return {group: some for group, some in openings.items() if some}


def _balancer(described: Mapping[str, Any], attributes: Mapping[str, str], tags: Mapping[str, str]) -> ObservedBalancer:
    return ObservedBalancer(
        arn=described["LoadBalancerArn"],
        dns_name=described.get("DNSName", ""),
        scheme=described.get("Scheme", ""),
        vpc=described.get("VpcId", ""),
        state=described.get("State", {}).get("Code", ""),
        subnets={zone["ZoneName"]: zone["SubnetId"] for zone in described.get("AvailabilityZones", ())},
        security_groups=tuple(described.get("SecurityGroups", ())),
        attributes=attributes,
        tags=tags,
    )


def _group(
    described: Mapping[str, Any], attributes: Mapping[str, str], targets: frozenset[Target], tags: Mapping[str, str]
) -> ObservedGroup:
    return ObservedGroup(
        arn=described["TargetGroupArn"],
        name=described["TargetGroupName"],
        protocol=described["Protocol"],
        vpc=described.get("VpcId", ""),
        health=HealthCheck(
            protocol=described.get("HealthCheckProtocol", ""),
            port=str(described.get("HealthCheckPort", "")),
            path=described.get("HealthCheckPath", ""),
            interval_seconds=described.get("HealthCheckIntervalSeconds", 0),
            timeout_seconds=described.get("HealthCheckTimeoutSeconds", 0),
            healthy_threshold=described.get("HealthyThresholdCount", 0),
            unhealthy_threshold=described.get("UnhealthyThresholdCount", 0),
            success_codes=described.get("Matcher", {}).get("HttpCode", ""),
        ),
        attributes=attributes,
        tags=tags,
        targets=targets,
    )


def _listener(described: Mapping[str, Any], idle_timeout_seconds: int) -> ObservedListener:
    actions = described.get("DefaultActions", ())
    group = actions[0].get("TargetGroupArn", "") if len(actions) == 1 and actions[0].get("Type") == "forward" else ""
    return ObservedListener(described["ListenerArn"], described["Port"], described["Protocol"], group, idle_timeout_seconds)


def _openings(group: Mapping[str, Any], description: str | None) -> Iterable[Opening]:
    """The single ports a group lets in. ``description`` None: whoever let them in; else only those marked so."""
    for permission in group["IpPermissions"]:
        low, high = permission.get("FromPort"), permission.get("ToPort")
        if low is None or low != high:
            continue
        sources = [(one["CidrIp"], one) for one in permission.get("IpRanges", ())]
        sources += [(one["GroupId"], one) for one in permission.get("UserIdGroupPairs", ())]
        for source, one in sources:
            if description is None or one.get("Description") == description:
                yield Opening(permission["IpProtocol"], low, source)


def _tags_of(thing: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags") or ()}

"""The network around the nodes: subnets and the nodes' security groups. What was read is good for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.cloud.errors import Refused
from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.machines import Machine
from services.cloud.providers.aws.names import CLUSTER_TAG
from services.cloud.providers.aws.options import PREFIX, Options
from services.cloud.providers.aws.settings import AwsSettings
from services.cloud.providers.aws.subnets import Subnet, discovered_subnets, named_subnets, subnets_of
from services.cloud.providers.aws.wish import Place


class Network:
    """Finds the place of a load balancer."""

    def __init__(self, api: AwsApi, settings: AwsSettings) -> None:
        self._api = api
        self._settings = settings
        self._subnets: dict[str, tuple[float, list[Subnet]]] = {}
        self._tagged_groups: dict[frozenset[str], tuple[float, frozenset[str]]] = {}
        self._reading = asyncio.Lock()

    async def place(self, cluster: str, options: Options, machines: Sequence[Machine], present_vpc: str) -> Place:
        """Where a load balancer for these machines stands; ``present_vpc``: where it does now. ``Refused`` says what to set."""
        vpc = self._settings.vpc or next((machine.vpc for machine in machines if machine.vpc), present_vpc)
        if not vpc:
            raise Refused("aws.vpc: must be set, for no node is an EC2 instance that would tell the network")
        subnets = await self._subnets_in(vpc)
        discovered = False
        if options.subnets:
            found = named_subnets(subnets, options.subnets, f"annotation {PREFIX}subnets")
        elif self._settings.subnets:
            found = named_subnets(subnets, self._settings.subnets, "aws.subnets")
        else:
            discovered = True
            found = discovered_subnets(subnets, options.scheme, cluster, {machine.zone for machine in machines})
        return Place(vpc, found, discovered, await self._node_groups(cluster, machines))

    async def _subnets_in(self, vpc: str) -> list[Subnet]:
        async with self._reading:
            now = asyncio.get_running_loop().time()
            at, found = self._subnets.get(vpc, (0.0, None))
            if found is None or now - at >= self._settings.refresh_seconds:
                filters = [{"Name": "vpc-id", "Values": [vpc]}]
                found = subnets_of(
                    *await asyncio.gather(
                        self._api.pages("ec2:DescribeSubnets", "Subnets", Filters=filters),
                        self._api.pages("ec2:DescribeRouteTables", "RouteTables", Filters=filters),
                    )
                )
                self._subnets[vpc] = (now, found)
            return found

    async def _node_groups(self, cluster: str, machines: Sequence[Machine]) -> frozenset[str]:
        """The groups to open: those configured; else each machine's only one, or the one of its several that has the cluster's tag."""
        if self._settings.node_security_groups:
            return frozenset(self._settings.node_security_groups)
        several = [machine for machine in machines if len(machine.security_groups) > 1]
        found = {machine.security_groups[0] for machine in machines if len(machine.security_groups) == 1}
        if several:
            tagged = await self._tagged(cluster, frozenset(group for machine in several for group in machine.security_groups))
            for machine in several:
                chosen = tagged.intersection(machine.security_groups)
                if len(chosen) != 1:
                    raise Refused(
                        f"instance {machine.instance_id} has the security groups {', '.join(machine.security_groups)}: give one of them "
                        f"the tag {CLUSTER_TAG}{cluster}, or set aws.nodeSecurityGroups"
                    )
                found |= chosen
        return frozenset(found)

    async def _tagged(self, cluster: str, groups: frozenset[str]) -> frozenset[str]:
        async with self._reading:
            now = asyncio.get_running_loop().time()
            at, found = self._tagged_groups.get(groups, (0.0, None))
            if found is None or now - at >= self._settings.refresh_seconds:
                filters = [{"Name": "group-id", "Values": sorted(groups)}, {"Name": "tag-key", "Values": [CLUSTER_TAG + cluster]}]
                described = await self._api.pages("ec2:DescribeSecurityGroups", "SecurityGroups", Filters=filters)
                found = frozenset(group["GroupId"] for group in described)
                self._tagged_groups = {groups: (now, found)}
            return found

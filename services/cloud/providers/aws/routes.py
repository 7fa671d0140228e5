"""Routes to pods: entries of the VPC's route tables that lead to the instances of the nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Refused, Unavailable
from services.cloud.providers.aws.api import Absent, AwsApi
from services.cloud.providers.aws.inventory import Inventory
from services.cloud.providers.aws.machines import Machine, parse_provider_id
from services.cloud.providers.aws.names import CLUSTER_TAG
from services.cloud.providers.aws.settings import AwsSettings


@dataclass(frozen=True, slots=True)
class Entry:
    """A route of one table to an instance; ``instance_id`` is empty when AWS does not know it any more."""

    table: str
    destination_cidr: str
    instance_id: str
    blackhole: bool


def entries_of(tables: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """The routes to instances, and those that led to one, of DescribeRouteTables' answer."""
    return [
        Entry(table["RouteTableId"], route["DestinationCidrBlock"], route.get("InstanceId", ""), route.get("State") == "blackhole")
        for table in tables
        for route in table["Routes"]
        if "DestinationCidrBlock" in route and (route.get("InstanceId") or route.get("State") == "blackhole")
    ]


def merged(entries: Sequence[Entry], tables: Sequence[str], nodes: Mapping[str, str]) -> list[cloud.Route]:
    """One route for a destination and node; ``nodes``: names by instance id. One that a table lacks leads nowhere there: a blackhole."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry.destination_cidr, entry.instance_id), []).append(entry)
    return [
        cloud.Route(
            name=f"{cidr} {instance_id}".strip(),
            node=nodes.get(instance_id, ""),
            destination_cidr=cidr,
            blackhole=any(entry.blackhole for entry in some) or {entry.table for entry in some} != set(tables),
        )
        for (cidr, instance_id), some in sorted(found.items())
    ]


class Routes:
    """The routes of a cluster. ``nodes`` answers all nodes of the cluster as they are known now."""

    def __init__(self, api: AwsApi, settings: AwsSettings, inventory: Inventory, nodes: Callable[[], Iterable[core.Node]]) -> None:
        self._api = api
        self._settings = settings
        self._inventory = inventory
        self._nodes = nodes

    async def list(self, cluster: str) -> list[cloud.Route]:
        tables = await self._tables(cluster)
        names = {parsed[1]: node.metadata.name for node in self._nodes() if (parsed := parse_provider_id(node.spec.provider_id))}
        return merged(entries_of(tables), [table["RouteTableId"] for table in tables], names)

    async def create(self, cluster: str, route: cloud.Route, node: core.Node) -> cloud.Route:
        """Leads ``destination_cidr`` to the node in every table, and lets packets of pods in and out of its instance."""
        machine = await self._inventory.find(node)
        if machine is None or machine.gone:
            raise Unavailable(f"node {node.metadata.name}: its instance is not there")
        cidr, tables = route.destination_cidr, await self._tables(cluster)
        there = {entry.table: entry for entry in entries_of(tables) if entry.destination_cidr == cidr}
        for table in tables:
            entry = there.get(table["RouteTableId"])
            if entry is None:
                await self._lead("ec2:CreateRoute", table["RouteTableId"], cidr, machine)
            elif entry.instance_id != machine.instance_id or entry.blackhole:
                await self._lead("ec2:ReplaceRoute", table["RouteTableId"], cidr, machine)
        if machine.source_dest_check:
            await self._api.call("ec2:ModifyInstanceAttribute", InstanceId=machine.instance_id, SourceDestCheck={"Value": False})
        return cloud.Route(name=f"{cidr} {machine.instance_id}", node=node.metadata.name, destination_cidr=cidr)

    async def delete(self, cluster: str, route: cloud.Route) -> None:
        """Removes the route from every table where it leads to the same instance; one that leads elsewhere by now stays."""
        instance_id = route.name.removeprefix(route.destination_cidr).strip()
        for entry in entries_of(await self._tables(cluster)):
            if entry.destination_cidr == route.destination_cidr and entry.instance_id == instance_id:
                try:
                    await self._api.call(
                        "ec2:DeleteRoute",
                        absent=("InvalidRoute.NotFound",),
                        RouteTableId=entry.table,
                        DestinationCidrBlock=entry.destination_cidr,
                    )
                except Absent:
                    continue

    async def _lead(self, action: str, table: str, cidr: str, machine: Machine) -> None:
        # Somebody was quicker: what is there now is compared at the next look.
        try:
            await self._api.call(
                action, absent=("RouteAlreadyExists",), RouteTableId=table, DestinationCidrBlock=cidr, InstanceId=machine.instance_id
            )
        except Absent as error:
            raise Unavailable(f"the route to {cidr} in {table} has just been made by another") from error

    async def _tables(self, cluster: str) -> Sequence[dict[str, Any]]:
        action, key = "ec2:DescribeRouteTables", "RouteTables"
        if self._settings.route_tables:
            return await self._api.pages(action, key, RouteTableIds=list(self._settings.route_tables))
        vpc = self._settings.vpc or await self._vpc()
        found = await self._api.pages(action, key, Filters=[{"Name": "vpc-id", "Values": [vpc]}])
        tagged = [table for table in found if any(tag["Key"] == CLUSTER_TAG + cluster for tag in table.get("Tags", ()))]
        tables = tagged or [table for table in found if any(association.get("Main") for association in table.get("Associations", ()))]
        if not tables:
            raise Refused(f"{vpc} has no route table with the tag {CLUSTER_TAG}{cluster} and no main one: tag one, or set aws.routeTables")
        return tables

    async def _vpc(self) -> str:
        for found in await self._inventory.find_all(list(self._nodes())):
            if found.machine is not None and found.machine.vpc:
                return found.machine.vpc
        raise Refused("aws.vpc: must be set, for no node is an EC2 instance that would tell the network")

"""The machines of all nodes, read with few calls.

One DescribeInstances asks for every node that the cluster has, however many ask at once; its answer is good for ``refresh_seconds``. A node
that the last look did not include begins another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Refused
from services.cloud.providers.aws.api import AwsApi, portions
from services.cloud.providers.aws.machines import SCHEME, Machine, addressed, machine_of, named, names_of, parse_provider_id

# AWS takes no more values in a filter.
FILTER_VALUES = 200


@dataclass(frozen=True, slots=True)
class Found:
    """A node's machine; without one, ``problem`` says why none can be, and is empty when the instance is no more."""

    machine: Machine | None
    problem: str = ""


@dataclass(slots=True)
class _Look:
    """One reading: which ids and which names it asked for, and what came."""

    at: float
    ids: frozenset[str]
    nodes: frozenset[str]
    machines: dict[str, Machine] = field(default_factory=dict)


class Inventory:
    """Finds the machines of nodes. ``nodes`` answers all nodes of the cluster as they are known now."""

    def __init__(self, api: AwsApi, refresh_seconds: float, vpc: str, nodes: Callable[[], Iterable[core.Node]]) -> None:
        self._api = api
        self._refresh_seconds = refresh_seconds
        self._vpc = vpc
        self._nodes = nodes
        self._look = _Look(-refresh_seconds, frozenset(), frozenset())
        self._looking = asyncio.Lock()

    async def find(self, node: core.Node) -> Machine | None:
        """The machine of a node, None when it is no more; ``Refused`` for a node that no instance can be."""
        found = (await self.find_all([node]))[0]
        if found.problem:
            raise Refused(found.problem)
        return found.machine

    async def find_all(self, nodes: Sequence[core.Node]) -> list[Found]:
        """The machines of several nodes, in their order, with one look."""
        region = await self._api.region()
        problems = [_foreign(node, region) for node in nodes]
        wanted = [node for node, problem in zip(nodes, problems, strict=True) if not problem]
        async with self._looking:
            if not self._good_for(wanted):
                self._look = await self._read([*(node for node in self._nodes() if not _foreign(node, region)), *wanted])
            look = self._look
        return [Found(None, problem) if problem else _found(look, node) for node, problem in zip(nodes, problems, strict=True)]

    def _good_for(self, nodes: Iterable[core.Node]) -> bool:
        look = self._look
        if asyncio.get_running_loop().time() - look.at >= self._refresh_seconds:
            return False
        for node in nodes:
            parsed = parse_provider_id(node.spec.provider_id)
            if parsed[1] not in look.ids if parsed else node.metadata.name not in look.nodes:
                return False
        return True

    async def _read(self, nodes: Iterable[core.Node]) -> _Look:
        at = asyncio.get_running_loop().time()
        ids: set[str] = set()
        unnamed: dict[str, core.Node] = {}
        for node in nodes:
            if parsed := parse_provider_id(node.spec.provider_id):
                ids.add(parsed[1])
            else:
                unnamed[node.metadata.name] = node
        machines = await self._describe("instance-id", ids, living=False)
        names = [names_of(node) for node in unnamed.values()]
        machines += await self._describe("instance-id", {name for name, _ in names if name.startswith("i-")}, living=True)
        machines += await self._describe("private-dns-name", {name for name, _ in names if not name.startswith("i-")}, living=True)
        known = {machine.private_dns for machine in machines}
        addresses = {address for name, addresses in names if name not in known for address in addresses}
        machines += await self._describe("private-ip-address", addresses, living=True)
        return _Look(at, frozenset(ids), frozenset(unnamed), {machine.instance_id: machine for machine in machines})

    async def _describe(self, by: str, values: Iterable[str], *, living: bool) -> list[Machine]:
        """``living``: of this network only, and no terminated ones, whose names and addresses may be others' by now."""
        found: list[Machine] = []
        for some in portions(sorted(values), FILTER_VALUES):
            filters = [{"Name": by, "Values": list(some)}]
            if living:
                filters.append({"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]})
            if living and self._vpc:
                filters.append({"Name": "vpc-id", "Values": [self._vpc]})
            reservations = await self._api.pages("ec2:DescribeInstances", "Reservations", Filters=filters)
            found += [machine_of(instance) for reservation in reservations for instance in reservation["Instances"]]
        return found


def _foreign(node: core.Node, region: str) -> str:
    """Why no instance of this region can be the node's; empty when one may be."""
    provider_id, name = node.spec.provider_id, node.metadata.name
    parsed = parse_provider_id(provider_id)
    if provider_id and parsed is None:
        return f"node {name}: it is not of provider aws: its providerID {provider_id!r} is not of the form {SCHEME}:///ZONE/i-…"
    if parsed and parsed[0] and not parsed[0].startswith(region):
        return f"node {name}: its instance is in zone {parsed[0]}, outside of aws.region {region}"
    return ""


def _found(look: _Look, node: core.Node) -> Found:
    if parsed := parse_provider_id(node.spec.provider_id):
        return Found(look.machines.get(parsed[1]))
    name, addresses = names_of(node)
    for matches in (named, addressed):
        found = [machine for machine in look.machines.values() if not machine.gone and matches(machine, node)]
        if len(found) == 1:
            return Found(found[0])
        if found:
            ids = ", ".join(sorted(machine.instance_id for machine in found))
            return Found(None, f"node {name}: it may be one of several instances ({ids}): set aws.vpc, or the node's providerID")
    return Found(None, f"node {name}: no EC2 instance has the private DNS name {name} or an address of {', '.join(addresses) or 'its own'}")

"""EC2 instances as AWS describes them, and as the machines of nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core

SCHEME = "aws"
_PROVIDER_ID = re.compile(r"aws://(?:/(?P<zone>[a-z0-9-]*))?/(?P<instance>i-[0-9a-f]+)")

STATES = {
    "pending": cloud.INSTANCE_STATE_RUNNING,
    "running": cloud.INSTANCE_STATE_RUNNING,
    "stopping": cloud.INSTANCE_STATE_SHUT_DOWN,
    "stopped": cloud.INSTANCE_STATE_SHUT_DOWN,
    "shutting-down": cloud.INSTANCE_STATE_SHUT_DOWN,
    "terminated": cloud.INSTANCE_STATE_GONE,
}


@dataclass(frozen=True, slots=True)
class Machine:
    """One instance: ids, where it stands, and what it is called and reached by. Empty: it has none."""

    instance_id: str
    state: str
    instance_type: str
    zone: str
    vpc: str = ""
    subnet: str = ""
    private_dns: str = ""
    public_dns: str = ""
    private_addresses: tuple[str, ...] = ()
    public_address: str = ""
    security_groups: tuple[str, ...] = ()
    # AWS drops packets that are neither from nor to the instance's own addresses: those of its pods.
    source_dest_check: bool = True

    @property
    def provider_id(self) -> str:
        return f"{SCHEME}:///{self.zone}/{self.instance_id}"

    @property
    def gone(self) -> bool:
        return self.state == "terminated"

    @property
    def running(self) -> bool:
        """Whether AWS takes it as a target."""
        return self.state == "running"


def machine_of(described: Mapping[str, Any]) -> Machine:
    """An item of DescribeInstances' answer."""
    interfaces = sorted(described.get("NetworkInterfaces", ()), key=lambda one: one.get("Attachment", {}).get("DeviceIndex", 0))
    addresses = [described.get("PrivateIpAddress", "")]
    for interface in interfaces:
        addresses.append(interface.get("PrivateIpAddress", ""))
        addresses += [one.get("PrivateIpAddress", "") for one in interface.get("PrivateIpAddresses", ()) if one.get("Primary")]
        addresses += [one.get("Ipv6Address", "") for one in interface.get("Ipv6Addresses", ())]
    groups = described.get("SecurityGroups") or (interfaces[0].get("Groups", ()) if interfaces else ())
    return Machine(
        instance_id=described["InstanceId"],
        state=described["State"]["Name"],
        instance_type=described.get("InstanceType", ""),
        zone=described.get("Placement", {}).get("AvailabilityZone", ""),
        vpc=described.get("VpcId", ""),
        subnet=described.get("SubnetId", ""),
        private_dns=described.get("PrivateDnsName", ""),
        public_dns=described.get("PublicDnsName", ""),
        private_addresses=tuple(dict.fromkeys(address for address in addresses if address)),
        public_address=described.get("PublicIpAddress", ""),
        security_groups=tuple(group["GroupId"] for group in groups),
        source_dest_check=described.get("SourceDestCheck", True),
    )


def instance_of(machine: Machine, region: str) -> cloud.Instance:
    """A machine in the words of the contract."""
    found = cloud.Instance(
        state=STATES.get(machine.state, cloud.INSTANCE_STATE_UNSPECIFIED),
        provider_id=machine.provider_id,
        instance_type=machine.instance_type,
        zone=machine.zone,
        region=region,
    )
    named = [("InternalIP", address) for address in machine.private_addresses]
    named += [("ExternalIP", machine.public_address), ("InternalDNS", machine.private_dns), ("Hostname", machine.private_dns)]
    named += [("ExternalDNS", machine.public_dns)]
    for type_, address in named:
        if address:
            found.addresses.add(type=type_, address=address)
    return found


def parse_provider_id(provider_id: str) -> tuple[str, str] | None:
    """Zone and instance id of ``aws:///ZONE/i-…``; the zone may be empty. None for one of another provider, or none."""
    found = _PROVIDER_ID.fullmatch(provider_id)
    return (found["zone"] or "", found["instance"]) if found else None


def names_of(node: core.Node) -> tuple[str, tuple[str, ...]]:
    """By what a node without provider id is looked up: its name, and its internal addresses."""
    return node.metadata.name, tuple(one.address for one in node.status.addresses if one.type == "InternalIP")


def named(machine: Machine, node: core.Node) -> bool:
    """Whether a node is called as this machine is."""
    return node.metadata.name in (machine.private_dns, machine.instance_id)


def addressed(machine: Machine, node: core.Node) -> bool:
    """Whether a node has an internal address of this machine."""
    return any(address in machine.private_addresses for address in names_of(node)[1])

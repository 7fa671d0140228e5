"""Which subnets a load balancer stands in. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.cloud.errors import Refused
from services.cloud.providers.aws.names import CLUSTER_TAG

ROLE_TAGS = {"internet-facing": "kubernetes.io/role/elb", "internal": "kubernetes.io/role/internal-elb"}
# A subnet says by this value of the cluster's tag, or without one, that it may be used; its role tag must not say no.
NO = ("false", "0")


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet; ``public``: its route table leads to an internet gateway."""

    subnet_id: str
    zone: str
    vpc: str
    tags: Mapping[str, str]
    public: bool = False

    @property
    def name(self) -> str:
        return self.tags.get("Name", "")


def subnets_of(described: Iterable[Mapping[str, Any]], route_tables: Iterable[Mapping[str, Any]]) -> list[Subnet]:
    """The items of DescribeSubnets' and DescribeRouteTables' answers."""
    public: dict[str, bool] = {}
    main: dict[str, bool] = {}
    for table in route_tables:
        leads_out = any(route.get("GatewayId", "").startswith("igw-") for route in table.get("Routes", ()))
        for association in table.get("Associations", ()):
            if association.get("Main"):
                main[table["VpcId"]] = leads_out
            elif "SubnetId" in association:
                public[association["SubnetId"]] = leads_out
    return [
        Subnet(
            one["SubnetId"],
            one["AvailabilityZone"],
            one["VpcId"],
            {tag["Key"]: tag["Value"] for tag in one.get("Tags") or ()},
            public.get(one["SubnetId"], main.get(one["VpcId"], False)),
        )
        for one in described
    ]


def named_subnets(subnets: Sequence[Subnet], wanted: Sequence[str], field: str) -> dict[str, str]:
    """The subnets with these ids or names, by zone; ``Refused`` names ``field`` when one is not there, or shares its zone."""
    found: dict[str, str] = {}
    for text in wanted:
        matching = [subnet for subnet in subnets if text in (subnet.subnet_id, subnet.name)]
        if not matching:
            raise Refused(f"{field}: there is no subnet with the id or name {text!r} in the network of the nodes")
        for subnet in matching:
            if found.get(subnet.zone, subnet.subnet_id) != subnet.subnet_id:
                raise Refused(
                    f"{field}: {found[subnet.zone]} and {subnet.subnet_id} are both in zone {subnet.zone}: name one for each zone"
                )
            found[subnet.zone] = subnet.subnet_id
    return found


def discovered_subnets(subnets: Sequence[Subnet], scheme: str, cluster: str, zones: Collection[str]) -> dict[str, str]:
    """One subnet for each zone of the nodes, by zone. Without nodes: every zone.

    Those with the role's tag; else public ones where the internet is to reach them, and others, if there are any, where not. In a zone the
    cluster's own come first, then the least id, so that the choice stays the same.
    """
    role = ROLE_TAGS[scheme]
    near = [subnet for subnet in subnets if not zones or subnet.zone in zones]
    usable = [subnet for subnet in near if subnet.tags.get(role, "").lower() not in NO and not _of_others(subnet, cluster)]
    tagged = [subnet for subnet in usable if role in subnet.tags]
    candidates = tagged or [subnet for subnet in usable if subnet.public == (scheme == "internet-facing")]
    if not candidates and scheme == "internal":
        candidates = usable
    found: dict[str, str] = {}
    for subnet in sorted(candidates, key=lambda one: (CLUSTER_TAG + cluster not in one.tags, one.subnet_id)):
        found.setdefault(subnet.zone, subnet.subnet_id)
    return found


def _of_others(subnet: Subnet, cluster: str) -> bool:
    tags = [key for key in subnet.tags if key.startswith(CLUSTER_TAG)]
    return bool(tags) and CLUSTER_TAG + cluster not in tags

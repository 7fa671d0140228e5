"""An AWS account at a moto server: a network with two zones, instances, and what is in it, in comparable form."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from knarr.api.core.v1 import core_pb2 as core

REGION = "eu-west-1"
CLUSTER = "test"
IMAGE = "ami-12c6146b"


class Account:
    """``ec2`` and ``elb`` are plain boto3 clients, for what a user does in AWS behind the provider's back."""

    def __init__(self, url: str) -> None:
        self.url = url
        session = boto3.Session("testing", "testing", region_name=REGION)
        config = Config(retries={"total_max_attempts": 1})
        self.ec2: Any = session.client("ec2", endpoint_url=url, config=config)
        self.elb: Any = session.client("elbv2", endpoint_url=url, config=config)
        self.vpc = ""
        self.subnets: dict[str, str] = {}
        self.group = ""
        self.instances: list[str] = []

    def close(self) -> None:
        self.ec2.close()
        self.elb.close()

    def furnish(self, instances: int = 2) -> None:
        """Forgets everything and makes a network: a public subnet in each of two zones, and instances in them in turn."""
        self.subnets.clear()
        self.instances.clear()
        with urlopen(Request(f"{self.url}/moto-api/reset", method="POST"), timeout=10):
            pass
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        self.ec2.create_route(RouteTableId=self.main_table(), DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        self.group = self.ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=self.vpc)["GroupId"]
        for index, zone in enumerate("ab"):
            self.subnets[REGION + zone] = self.add_subnet(zone, f"10.0.{index}.0/24")
        for index in range(instances):
            self.add_instance("ab"[index % 2])

    def add_subnet(self, zone: str, cidr: str, tags: dict[str, str] | None = None) -> str:
        made = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
        if tags:
            self.tag(made, tags)
        return str(made)

    def add_instance(self, zone: str = "a", groups: list[str] | None = None) -> str:
        made = self.ec2.run_instances(
            ImageId=IMAGE,
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnets[REGION + zone],
            InstanceType="t3.large",
            SecurityGroupIds=groups or [self.group],
        )["Instances"][0]["InstanceId"]
        self.instances.append(made)
        return str(made)

    def tag(self, thing: str, tags: dict[str, str]) -> None:
        self.ec2.create_tags(Resources=[thing], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])

    def main_table(self) -> str:
        tables = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        return str(next(table["RouteTableId"] for table in tables if any(one["Main"] for one in table["Associations"])))

    def describe(self, instance: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return found

    def node(self, index: int = 0, name: str = "") -> core.Node:
        """The Node of an instance, with its provider id."""
        described = self.describe(self.instances[index])
        node = core.Node()
        node.metadata.name = name or f"node-{index}"
        node.spec.provider_id = f"aws:///{described['Placement']['AvailabilityZone']}/{described['InstanceId']}"
        node.status.conditions.add(type="Ready", status="True")
        node.status.addresses.add(type="InternalIP", address=described["PrivateIpAddress"])
        return node

    def nodes(self) -> list[core.Node]:
        return [self.node(index) for index in range(len(self.instances))]

    def balancers(self) -> list[dict[str, Any]]:
        return list(self.elb.describe_load_balancers()["LoadBalancers"])

    def balancer(self) -> dict[str, Any]:
        (found,) = self.balancers()
        return dict(found)

    def listeners(self) -> list[dict[str, Any]]:
        """Those of the only load balancer, by port."""
        found = self.elb.describe_listeners(LoadBalancerArn=self.balancer()["LoadBalancerArn"])["Listeners"]
        return sorted(found, key=lambda one: int(one["Port"]))

    def groups(self) -> list[dict[str, Any]]:
        return sorted(self.elb.describe_target_groups()["TargetGroups"], key=lambda one: str(one["TargetGroupName"]))

    def targets(self, group: dict[str, Any]) -> set[tuple[str, int]]:
        found = self.elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
        return {(one["Target"]["Id"], one["Target"]["Port"]) for one in found}

    def attributes(self, group: dict[str, Any] | None = None) -> dict[str, str]:
        """Of a target group, or of the only load balancer."""
        if group is None:
            found = self.elb.describe_load_balancer_attributes(LoadBalancerArn=self.balancer()["LoadBalancerArn"])
        else:
            found = self.elb.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])
        return {one["Key"]: one["Value"] for one in found["Attributes"]}

    def tags(self, arn: str) -> dict[str, str]:
        (found,) = self.elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
        return {tag["Key"]: tag["Value"] for tag in found["Tags"]}

    def security_groups(self) -> dict[str, dict[str, Any]]:
        """By name."""
        found = self.ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["SecurityGroups"]
        return {group["GroupName"]: group for group in found}

    def openings(self, name: str) -> set[tuple[str, int, str]]:
        """What the group of that name lets in: protocol, port, CIDR or group id."""
        return {
            (permission["IpProtocol"], permission["FromPort"], source)
            for permission in self.security_groups()[name]["IpPermissions"]
            for source in [
                *(one["CidrIp"] for one in permission["IpRanges"]),
                *(one["GroupId"] for one in permission["UserIdGroupPairs"]),
            ]
        }

    def everything(self) -> str:
        """All that there is in elbv2 and of security groups and routes, without ids that differ from time to time."""
        found: dict[str, Any] = {
            "balancers": [
                {
                    "name": one["LoadBalancerName"],
                    "scheme": one["Scheme"],
                    "zones": sorted(self._called(zone["SubnetId"]) for zone in one["AvailabilityZones"]),
                    "groups": len(one["SecurityGroups"]),
                    "tags": self.tags(one["LoadBalancerArn"]),
                    "attributes": {
                        pair["Key"]: pair["Value"]
                        for pair in self.elb.describe_load_balancer_attributes(LoadBalancerArn=one["LoadBalancerArn"])["Attributes"]
                    },
                    "listeners": sorted(
                        (listener["Port"], listener["Protocol"], listener["DefaultActions"][0]["TargetGroupArn"].split("/")[1])
                        for listener in self.elb.describe_listeners(LoadBalancerArn=one["LoadBalancerArn"])["Listeners"]
                    ),
                }
                for one in self.balancers()
            ],
            "groups": [
                {
                    "name": one["TargetGroupName"],
                    "check": [one["HealthCheckProtocol"], one["HealthCheckPort"], one.get("HealthCheckPath")],
                    "targets": sorted((self._called(instance), port) for instance, port in self.targets(one)),
                    "attributes": self.attributes(one),
                    "tags": self.tags(one["TargetGroupArn"]),
                }
                for one in self.groups()
            ],
            "security": {
                name: sorted(
                    (protocol, port, "group" if source.startswith("sg-") else source) for protocol, port, source in self.openings(name)
                )
                for name in self.security_groups()
            },
        }
        return json.dumps(found, indent=1, sort_keys=True)

    def _called(self, id_: str) -> str:
        """An id that is another each time, by what it stands for."""
        if id_ in self.instances:
            return f"instance {self.instances.index(id_)}"
        return next((f"subnet in {zone}" for zone, subnet in self.subnets.items() if subnet == id_), id_)

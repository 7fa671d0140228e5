"""What can be done to the things of a load balancer, one call to AWS each.

Things are named, not numbered: a step may speak of one that an earlier step makes. ``OWN_GROUP`` stands for the id of the load balancer's
own security group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.cloud.providers.aws.model import HealthCheck, Listener, Opening, Target, TargetGroup

OWN_GROUP = "own"


@dataclass(frozen=True, slots=True)
class CreateSecurityGroup:
    name: str
    vpc: str
    description: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenGroup:
    """Lets in what ``openings`` say; ``description`` marks rules in groups that are not the load balancer's own."""

    group: str
    openings: frozenset[Opening]
    description: str


@dataclass(frozen=True, slots=True)
class CloseGroup:
    group: str
    openings: frozenset[Opening]
    description: str


@dataclass(frozen=True, slots=True)
class DeleteSecurityGroup:
    group: str


@dataclass(frozen=True, slots=True)
class CreateLoadBalancer:
    name: str
    scheme: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SetSubnets:
    subnets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetSecurityGroups:
    security_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetAttributes:
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeleteLoadBalancer:
    pass


@dataclass(frozen=True, slots=True)
class CreateTargetGroup:
    group: TargetGroup
    vpc: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SetHealthCheck:
    group: str
    health: HealthCheck


@dataclass(frozen=True, slots=True)
class SetTargetGroupAttributes:
    group: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RegisterTargets:
    group: str
    targets: frozenset[Target]


@dataclass(frozen=True, slots=True)
class DeregisterTargets:
    group: str
    targets: frozenset[Target]


@dataclass(frozen=True, slots=True)
class DeleteTargetGroup:
    group: str


@dataclass(frozen=True, slots=True)
class CreateListener:
    listener: Listener
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModifyListener:
    arn: str
    listener: Listener


@dataclass(frozen=True, slots=True)
class SetIdleTimeout:
    port: int
    seconds: int


@dataclass(frozen=True, slots=True)
class DeleteListener:
    arn: str


@dataclass(frozen=True, slots=True)
class AddTags:
    """``thing``: a security group's id, or an ARN."""

    thing: str
    tags: Mapping[str, str]


Step = (
    CreateSecurityGroup
    | OpenGroup
    | CloseGroup
    | DeleteSecurityGroup
    | CreateLoadBalancer
    | SetSubnets
    | SetSecurityGroups
    | SetAttributes
    | DeleteLoadBalancer
    | CreateTargetGroup
    | SetHealthCheck
    | SetTargetGroupAttributes
    | RegisterTargets
    | DeregisterTargets
    | DeleteTargetGroup
    | CreateListener
    | ModifyListener
    | SetIdleTimeout
    | DeleteListener
    | AddTags
)

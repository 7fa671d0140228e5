"""The things of a load balancer: as they should be (``Wish``), and as they are (``Observed``).

Things are known by name until they are made; ids and ARNs are only in what was observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TRAFFIC_PORT = "traffic-port"


@dataclass(frozen=True, slots=True, order=True)
class Opening:
    """What a security group lets in: ``protocol`` tcp or udp, one port, from a CIDR or a security group's id (``source``)."""

    protocol: str
    port: int
    source: str


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """An instance and the port on it."""

    instance_id: str
    port: int


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How targets are checked. ``path`` and ``success_codes`` are empty for TCP. Times in seconds."""

    protocol: str
    port: str
    path: str
    interval_seconds: int
    timeout_seconds: int
    healthy_threshold: int
    unhealthy_threshold: int
    success_codes: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """A port of the load balancer. ``idle_timeout_seconds`` 0: its protocol has none."""

    port: int
    protocol: str
    group: str
    idle_timeout_seconds: int


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Where a listener sends to."""

    name: str
    protocol: str
    port: int
    health: HealthCheck
    attributes: Mapping[str, str]
    targets: frozenset[Target]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a Service should have.

    ``subnets``: ids by zone; where they were ``discovered``, those of an existing load balancer stay. ``security_groups`` empty: one of its
    own, which lets in ``clients``. ``node_openings``: ports of the nodes, protocol and number, that the nodes' groups ``node_groups`` open
    for it.
    """

    name: str
    scheme: str
    vpc: str
    subnets: Mapping[str, str]
    discovered: bool
    attributes: Mapping[str, str]
    tags: Mapping[str, str]
    security_groups: tuple[str, ...]
    clients: frozenset[Opening]
    node_groups: frozenset[str]
    node_openings: frozenset[tuple[str, int]]
    rule_description: str
    listeners: tuple[Listener, ...]
    groups: tuple[TargetGroup, ...]


@dataclass(frozen=True, slots=True)
class ObservedListener:
    """A listener that is there. ``group_arn`` is empty when it does anything but forward to one group."""

    arn: str
    port: int
    protocol: str
    group_arn: str
    idle_timeout_seconds: int


@dataclass(frozen=True, slots=True)
class ObservedGroup:
    """A target group that is there; ``vpc`` and ``port`` cannot be changed."""

    arn: str
    name: str
    protocol: str
    vpc: str
    health: HealthCheck
    attributes: Mapping[str, str]
    tags: Mapping[str, str]
    targets: frozenset[Target]


@dataclass(frozen=True, slots=True)
class ObservedBalancer:
    """A load balancer that is there. ``subnets``: ids by zone."""

    arn: str
    dns_name: str
    scheme: str
    vpc: str
    state: str
    subnets: Mapping[str, str]
    security_groups: tuple[str, ...]
    attributes: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ObservedSecurityGroup:
    """The load balancer's own group."""

    group_id: str
    vpc: str
    openings: frozenset[Opening]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there for a Service. ``node_openings``: what this Service has opened, by id of the group it was opened in."""

    balancer: ObservedBalancer | None = None
    listeners: tuple[ObservedListener, ...] = ()
    groups: tuple[ObservedGroup, ...] = ()
    security_group: ObservedSecurityGroup | None = None
    node_openings: Mapping[str, frozenset[Opening]] = field(default_factory=dict)

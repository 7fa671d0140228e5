"""From a Service, its options and the machines behind the nodes to what it should have in AWS. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from services.cloud.errors import Refused
from services.cloud.providers.aws.machines import Machine
from services.cloud.providers.aws.model import TRAFFIC_PORT, HealthCheck, Listener, Opening, Target, TargetGroup, Wish
from services.cloud.providers.aws.names import Names
from services.cloud.providers.aws.options import SOURCE_RANGES, HealthOptions, Options
from services.cloud.providers.aws.settings import AwsSettings

EVERYBODY = "0.0.0.0/0"
KUBELET_PORT = 10250
# What a target group does when nothing is said; an option that is taken away goes back to this.
ATTRIBUTES = {"load_balancing.cross_zone.enabled": "false"}
TARGET_ATTRIBUTES = {
    "deregistration_delay.timeout_seconds": "300",
    "deregistration_delay.connection_termination.enabled": "false",
    "proxy_protocol_v2.enabled": "false",
    "preserve_client_ip.enabled": "true",
    "stickiness.enabled": "false",
    "stickiness.type": "source_ip",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where it stands: the network, subnets by zone (``discovered``: named by nobody), and the nodes' security groups."""

    vpc: str
    subnets: Mapping[str, str]
    discovered: bool
    node_groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Port:
    """One listener's share of the Service: a port with one or both protocols."""

    port: int
    node_port: int
    protocol: str


def make_wish(
    names: Names,
    service: core.Service,
    options: Options,
    settings: AwsSettings,
    place: Place,
    machines: Sequence[Machine],
    nodes: Sequence[core.Node],
) -> Wish:
    """``machines``: those that are targets; ``Refused`` names the field that a network load balancer cannot do."""
    ports = _ports(service.spec.ports)
    check = _Checks(service, options.health, _kubelet_port(nodes))
    groups = tuple(
        TargetGroup(
            name=names.group(port.port, port.node_port, port.protocol),
            protocol=port.protocol,
            port=port.node_port,
            health=check.of(port),
            attributes=_target_attributes(service, options),
            targets=frozenset(Target(machine.instance_id, port.node_port) for machine in machines),
        )
        for port in ports
    )
    return Wish(
        name=names.load_balancer,
        scheme=options.scheme,
        vpc=place.vpc,
        subnets=place.subnets,
        discovered=place.discovered,
        attributes={**ATTRIBUTES, **options.attributes},
        tags={**settings.tags, **options.tags, **names.tags},
        security_groups=options.security_groups,
        clients=frozenset(
            Opening(protocol, port.port, source)
            for port in ports
            for protocol in _spoken(port.protocol)
            for source in source_ranges(service, options)
        ),
        node_groups=place.node_groups if options.manage_node_rules else frozenset(),
        node_openings=_node_openings(ports, groups),
        rule_description=names.rule_description,
        listeners=tuple(
            Listener(port.port, port.protocol, group.name, 0 if port.protocol == "UDP" else options.idle_timeout_seconds)
            for port, group in zip(ports, groups, strict=True)
        ),
        groups=groups,
    )


def source_ranges(service: core.Service, options: Options) -> tuple[str, ...]:
    """Whose connections are let in: the Service's field, else the annotation, else everybody."""
    in_spec = tuple(service.spec.load_balancer_source_ranges)
    name = "spec.loadBalancerSourceRanges" if in_spec else f"annotation {SOURCE_RANGES}"
    found = []
    for text in in_spec or options.source_ranges or (EVERYBODY,):
        try:
            # Kubernetes takes them with spaces around; AWS gives them back with the host bits cleared.
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            raise Refused(f"{name}: must be ranges like 10.0.0.0/8, not {text!r}") from None
        if network.version != 4:
            raise Refused(f"{name}: {text}: a network load balancer of provider aws lets in IPv4 only")
        found.append(str(network))
    return tuple(dict.fromkeys(found))


def _ports(ports: Sequence[core.ServicePort]) -> tuple[_Port, ...]:
    found: dict[int, _Port] = {}
    for index, one in enumerate(ports):
        field, protocol = f"spec.ports[{index}]", one.protocol or "TCP"
        if protocol not in ("TCP", "UDP"):
            raise Refused(f"{field}.protocol: a network load balancer carries TCP and UDP, not {protocol}")
        if not one.node_port:
            raise Refused(f"{field}.nodePort: must be set: targets are nodes (is spec.allocateLoadBalancerNodePorts false?)")
        other = found.get(one.port)
        if other is None:
            found[one.port] = _Port(one.port, one.node_port, protocol)
        elif other.node_port != one.node_port:
            raise Refused(
                f"{field}.nodePort: port {one.port} has TCP and UDP, which share a listener: both need the same nodePort, "
                f"not {other.node_port} and {one.node_port}"
            )
        else:
            found[one.port] = _Port(one.port, one.node_port, "TCP_UDP")
    return tuple(found.values())


def _spoken(protocol: str) -> tuple[str, ...]:
    return tuple(protocol.lower().split("_"))


def _target_attributes(service: core.Service, options: Options) -> dict[str, str]:
    sticky = {"stickiness.enabled": "true"} if service.spec.session_affinity == "ClientIP" else {}
    return {**TARGET_ATTRIBUTES, **sticky, **options.target_attributes}


def _node_openings(ports: Sequence[_Port], groups: Sequence[TargetGroup]) -> frozenset[tuple[str, int]]:
    opened = {(protocol, port.node_port) for port in ports for protocol in _spoken(port.protocol)}
    checked = {("tcp", int(group.health.port)) for group in groups if group.health.port != TRAFFIC_PORT}
    return frozenset(opened | checked)


def _kubelet_port(nodes: Sequence[core.Node]) -> int:
    return next((port for node in nodes if (port := node.status.daemon_endpoints.kubelet_endpoint.port)), KUBELET_PORT)


class _Checks:
    """The health checks of one Service's target groups.

    With externalTrafficPolicy Local, nodes say on ``healthCheckNodePort`` whether they have an endpoint. Else any node will do: its
    NodePort is tried, and where that speaks UDP only, a TCP port of the same Service, or the kubelet's.
    """

    def __init__(self, service: core.Service, wished: HealthOptions, kubelet_port: int) -> None:
        self._wished = wished
        spec = service.spec
        self._local_port = spec.health_check_node_port if spec.external_traffic_policy == "Local" else 0
        tcp = [port.node_port for port in spec.ports if port.protocol != "UDP"]
        self._instead_of_udp = str(tcp[0] if tcp else kubelet_port)

    def of(self, port: _Port) -> HealthCheck:
        wished, local = self._wished, bool(self._local_port)
        protocol = wished.protocol or ("HTTP" if local else "TCP")
        plain = protocol == "TCP"
        threshold = 2 if local else 3
        return HealthCheck(
            protocol=protocol,
            port=self._port(port),
            path="" if plain else wished.path or ("/healthz" if local else "/"),
            interval_seconds=wished.interval_seconds or 10,
            timeout_seconds=wished.timeout_seconds or (10 if plain else 6),
            healthy_threshold=wished.healthy_threshold or threshold,
            unhealthy_threshold=wished.unhealthy_threshold or threshold,
            success_codes="" if plain else wished.success_codes or "200-399",
        )

    def _port(self, port: _Port) -> str:
        if self._wished.port and self._wished.port != TRAFFIC_PORT:
            return self._wished.port
        if self._local_port and not self._wished.port:
            return str(self._local_port)
        return self._instead_of_udp if port.protocol == "UDP" else TRAFFIC_PORT

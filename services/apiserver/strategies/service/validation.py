"""Rules about Services. Whether an address or node port is free is the allocator's affair."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    GoSyntax,
    Path,
    check_choice,
    check_format,
    cidr,
    dns1123_label,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    ip_address,
    not_supported,
    port_number,
    qualified_name,
    required,
    shown,
)
from services.apiserver.strategies.addresses import validate_endpoint_ip
from services.apiserver.strategies.metadata import validate_labels
from services.apiserver.strategies.pod.probes import validate_port_number_or_name
from services.apiserver.strategies.service.defaults import NODE_PORT_TYPES, is_headless

SPEC = Path("spec")
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
POLICIES = ("Cluster", "Local")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
LONGEST_AFFINITY_SECONDS = 86_400
NOT_FOR_NAMES = "may not be set for ExternalName services"
BALANCER_ONLY = "may only be used when `type` is 'LoadBalancer'"


def validate_service(service: core.Service) -> list[Cause]:
    spec = service.spec
    causes: list[Cause] = []
    if not spec.ports and not is_headless(spec) and spec.type != "ExternalName":
        causes.append(required(SPEC.child("ports")))
    if is_headless(spec) and spec.type in NODE_PORT_TYPES:
        causes.append(invalid(SPEC.child("clusterIPs").index(0), "None", f"may not be set to 'None' for {spec.type} services"))
    if spec.type == "ExternalName":
        causes += _external_name(spec)
    causes += _ports(spec) + validate_labels(spec.selector, SPEC.child("selector")) + _affinity(spec)
    causes += check_choice(SPEC.child("type"), spec.type, TYPES)
    for index, address in enumerate(spec.external_ips):
        causes += validate_endpoint_ip(address, SPEC.child("externalIPs").index(index))
    return causes + _balancer(spec) + _traffic(spec) + _cluster_ips(spec)


def validate_service_update(new: core.Service, old: core.Service) -> list[Cause]:
    """An address stays while the Service has one; so does the health check port."""
    after, before = new.spec, old.spec
    causes: list[Cause] = []
    if (
        "ExternalName" not in (after.type, before.type)
        and before.cluster_ips
        and list(after.cluster_ips[:1]) != list(before.cluster_ips[:1])
    ):
        here = SPEC.child("clusterIPs").index(0)
        sentence = "may not change once set" if after.cluster_ips else "primary clusterIP can not be unset"
        causes.append(invalid(here, list(after.cluster_ips), sentence))
    if (
        needs_health_check_port(after)
        and needs_health_check_port(before)
        and before.health_check_node_port not in (0, after.health_check_node_port)
    ):
        causes.append(invalid(SPEC.child("healthCheckNodePort"), after.health_check_node_port, "field is immutable"))
    if after.type == before.type == "LoadBalancer" and after.load_balancer_class != before.load_balancer_class:
        causes.append(invalid(SPEC.child("loadBalancerClass"), after.load_balancer_class, "may not change once set"))
    return causes


def needs_health_check_port(spec: core.ServiceSpec) -> bool:
    return spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"


def _external_name(spec: core.ServiceSpec) -> list[Cause]:
    causes: list[Cause] = []
    for given, name in ((spec.cluster_ips, "clusterIPs"), (spec.ip_families, "ipFamilies"), (spec.ip_family_policy, "ipFamilyPolicy")):
        if given:
            causes.append(forbidden(SPEC.child(name), NOT_FOR_NAMES))
    target = spec.external_name.removesuffix(".")
    here = SPEC.child("externalName")
    return causes + (check_format(here, target, dns1123_subdomain) if target else [required(here)])


def _ports(spec: core.ServiceSpec) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    numbers: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(spec.ports):
        here = SPEC.child("ports").index(index)
        causes += _port(port, len(spec.ports) > 1, names, here)
        if port.node_port and spec.type in ("ClusterIP", "ExternalName"):
            causes.append(forbidden(here.child("nodePort"), f"may not be used when `type` is '{spec.type}'"))
        if port.node_port and (port.protocol, port.node_port) in node_ports:
            causes.append(duplicate(here.child("nodePort"), port.node_port))
        if (port.protocol, port.port) in numbers:
            causes.append(duplicate(here, _go_port(port)))
        node_ports.add((port.protocol, port.node_port))
        numbers.add((port.protocol, port.port))
    return causes


def _port(port: core.ServicePort, name_required: bool, names: set[str], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if port.name:
        causes += check_format(path.child("name"), port.name, dns1123_label)
        if port.name in names:
            causes.append(duplicate(path.child("name"), port.name))
        names.add(port.name)
    elif name_required:
        causes.append(required(path.child("name")))
    causes += [invalid(path.child("port"), port.port, sentence) for sentence in port_number(port.port)]
    causes += check_choice(path.child("protocol"), port.protocol, PROTOCOLS)
    causes += validate_port_number_or_name(port.target_port, path.child("targetPort"))
    if port.HasField("app_protocol"):
        causes += check_format(path.child("appProtocol"), port.app_protocol, qualified_name)
    return causes


def _go_port(port: core.ServicePort) -> GoSyntax:
    return GoSyntax(
        f'core.ServicePort{{Name:"", Protocol:{shown(port.protocol)}, AppProtocol:(*string)(nil), Port:{port.port}, '
        'TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}'
    )


def _affinity(spec: core.ServiceSpec) -> list[Cause]:
    causes = check_choice(SPEC.child("sessionAffinity"), spec.session_affinity, ("ClientIP", "None"))
    here = SPEC.child("sessionAffinityConfig")
    if spec.session_affinity == "None" and spec.HasField("session_affinity_config"):
        causes.append(forbidden(here, "must not be set when session affinity is None"))
    if spec.session_affinity == "ClientIP":
        seconds = spec.session_affinity_config.client_ip.timeout_seconds
        if not 0 < seconds <= LONGEST_AFFINITY_SECONDS:
            sentence = f"must be greater than 0 and less than {LONGEST_AFFINITY_SECONDS}"
            causes.append(invalid(here.child("clientIP", "timeoutSeconds"), seconds, sentence))
    return causes


def _balancer(spec: core.ServiceSpec) -> list[Cause]:
    ranges = SPEC.child("loadBalancerSourceRanges")
    if spec.type == "LoadBalancer":
        return [
            cause
            for index, text in enumerate(spec.load_balancer_source_ranges)
            for cause in check_format(ranges.index(index), text.strip(), cidr)
        ]
    given = (
        (bool(spec.load_balancer_source_ranges), ranges),
        (spec.HasField("allocate_load_balancer_node_ports"), SPEC.child("allocateLoadBalancerNodePorts")),
        (spec.HasField("load_balancer_class"), SPEC.child("loadBalancerClass")),
    )
    return [forbidden(path, BALANCER_ONLY) for present, path in given if present]


def _traffic(spec: core.ServiceSpec) -> list[Cause]:
    external = SPEC.child("externalTrafficPolicy")
    if spec.type in NODE_PORT_TYPES or spec.external_ips:
        causes = check_choice(external, spec.external_traffic_policy, POLICIES, optional=spec.type not in NODE_PORT_TYPES)
    elif spec.external_traffic_policy:
        causes = [invalid(external, spec.external_traffic_policy, "may only be set for externally-accessible services")]
    else:
        causes = []
    if spec.health_check_node_port and not needs_health_check_port(spec):
        sentence = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        causes.append(invalid(SPEC.child("healthCheckNodePort"), spec.health_check_node_port, sentence))
    if spec.type != "ExternalName":
        causes += check_choice(SPEC.child("internalTrafficPolicy"), spec.internal_traffic_policy, POLICIES)
    return causes


def _cluster_ips(spec: core.ServiceSpec) -> list[Cause]:
    causes: list[Cause] = []
    if spec.type == "ExternalName":
        return causes
    here = SPEC.child("clusterIPs")
    if spec.cluster_ips and spec.cluster_ip != spec.cluster_ips[0]:
        causes.append(invalid(here, list(spec.cluster_ips), "first value must match `clusterIP`"))
    if spec.cluster_ip and not spec.cluster_ips:
        causes.append(required(here))
    for index, address in enumerate(spec.cluster_ips):
        if address == "None":
            if len(spec.cluster_ips) > 1:
                causes.append(invalid(here.index(index), address, "'None' must be the first and only value"))
        else:
            causes += check_format(here.index(index), address, ip_address)
    for index, family in enumerate(spec.ip_families):
        at = SPEC.child("ipFamilies").index(index)
        if family not in FAMILIES:
            causes.append(not_supported(at, family, FAMILIES))
        elif family in spec.ip_families[:index]:
            causes.append(duplicate(at, family))
    return causes + check_choice(SPEC.child("ipFamilyPolicy"), spec.ip_family_policy, FAMILY_POLICIES, optional=True)

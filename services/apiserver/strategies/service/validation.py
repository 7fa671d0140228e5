"""Rules about Services. Whether an address or node port is free is the allocator's affair."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import check_choice, check_named, dns1123_subdomain, forbidden, invalid, required
from services.apiserver.strategies.addresses import validate_endpoint_ip
from services.apiserver.strategies.metadata import validate_labels
from services.apiserver.strategies.paths import ANNOTATIONS, SPEC
from services.apiserver.strategies.service.families import validate_cluster_ips, validate_cluster_ips_update
from services.apiserver.strategies.service.ports import validate_ports, validate_ports_together
from services.apiserver.strategies.service.shape import is_headless, needs_health_check_port, needs_node_ports
from services.apiserver.strategies.service.traffic import validate_affinity, validate_balancer, validate_policies

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
NOT_FOR_NAMES = "may not be set for ExternalName services"
HINTS_ANNOTATION = "service.kubernetes.io/topology-aware-hints"
MODE_ANNOTATION = "service.kubernetes.io/topology-mode"


def validate_service(service: core.Service) -> list[Cause]:
    """The causes in the order in which Kubernetes names them."""
    spec = service.spec
    causes = _annotations(service)
    if not spec.ports and not is_headless(spec) and spec.type != "ExternalName":
        causes.append(required(SPEC.child("ports")))
    if is_headless(spec) and needs_node_ports(spec):
        causes.append(invalid(SPEC.child("clusterIPs").index(0), "None", f"may not be set to 'None' for {spec.type} services"))
    if spec.type == "ExternalName":
        causes += _external_name(spec)
    causes += validate_ports(spec) + validate_labels(spec.selector, SPEC.child("selector")) + validate_affinity(spec)
    causes += validate_cluster_ips(spec)
    for index, address in enumerate(spec.external_ips):
        causes += validate_endpoint_ip(address, SPEC.child("externalIPs").index(index))
    causes += check_choice(SPEC.child("type"), spec.type, TYPES)
    return causes + validate_ports_together(spec) + validate_balancer(service) + validate_policies(spec)


def validate_service_update(new: core.Service, old: core.Service) -> list[Cause]:
    """An address stays while the Service has one; so do the health check port and the load balancer's class."""
    after, before = new.spec, old.spec
    causes = validate_cluster_ips_update(after, before)
    if after.type == before.type == "LoadBalancer":
        same = (after.HasField("load_balancer_class"), after.load_balancer_class) == (
            before.HasField("load_balancer_class"),
            before.load_balancer_class,
        )
        if not same:
            value = after.load_balancer_class if after.HasField("load_balancer_class") else None
            causes.append(invalid(SPEC.child("loadBalancerClass"), value, "may not change once set"))
    if (
        needs_health_check_port(after)
        and needs_health_check_port(before)
        and before.health_check_node_port not in (0, after.health_check_node_port)
    ):
        causes.append(forbidden(SPEC.child("healthCheckNodePort"), "field is immutable"))
    return causes


def service_warnings(service: core.Service) -> list[str]:
    """What a person should hear although the Service is accepted."""
    if HINTS_ANNOTATION in service.metadata.annotations:
        return [f"annotation {HINTS_ANNOTATION} is deprecated, please use {MODE_ANNOTATION} instead"]
    return []


def _annotations(service: core.Service) -> list[Cause]:
    annotations = service.metadata.annotations
    both = HINTS_ANNOTATION in annotations and MODE_ANNOTATION in annotations
    if not both or annotations[HINTS_ANNOTATION] == annotations[MODE_ANNOTATION]:
        return []
    here = ANNOTATIONS.key(MODE_ANNOTATION)
    return [invalid(here, annotations[MODE_ANNOTATION], f"must match annotations[{HINTS_ANNOTATION}] when both are specified")]


def _external_name(spec: core.ServiceSpec) -> list[Cause]:
    given = (
        (bool(spec.cluster_ips), "clusterIPs"),
        (bool(spec.ip_families), "ipFamilies"),
        (spec.HasField("ip_family_policy"), "ipFamilyPolicy"),
    )
    causes = [forbidden(SPEC.child(name), NOT_FOR_NAMES) for present, name in given if present]
    target, here = spec.external_name.removesuffix("."), SPEC.child("externalName")
    return causes + check_named(here, target, dns1123_subdomain)

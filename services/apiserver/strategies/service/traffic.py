"""Rules about where a Service's traffic comes from and where it goes: affinity, load balancers, policies."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    check_choice,
    check_format,
    check_port_number,
    cidr,
    forbidden,
    invalid,
    not_supported,
    qualified_name,
    required,
)
from services.apiserver.strategies.paths import ANNOTATIONS, SPEC
from services.apiserver.strategies.service.shape import is_externally_accessible, needs_health_check_port

POLICIES = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
LONGEST_AFFINITY_SECONDS = 86_400
BALANCER_ONLY = "may only be used when `type` is 'LoadBalancer'"
SOURCE_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"


def validate_affinity(spec: core.ServiceSpec) -> list[Cause]:
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


def validate_balancer(service: core.Service) -> list[Cause]:
    """What only a Service of type LoadBalancer may ask for."""
    spec, causes = service.spec, _source_ranges(service)
    balanced = spec.type == "LoadBalancer"
    if spec.HasField("allocate_load_balancer_node_ports") and not balanced:
        causes.append(forbidden(SPEC.child("allocateLoadBalancerNodePorts"), BALANCER_ONLY))
    if spec.HasField("load_balancer_class"):
        here = SPEC.child("loadBalancerClass")
        causes += check_format(here, spec.load_balancer_class, qualified_name) if balanced else [forbidden(here, BALANCER_ONLY)]
    return causes


def validate_policies(spec: core.ServiceSpec) -> list[Cause]:
    external = SPEC.child("externalTrafficPolicy")
    if is_externally_accessible(spec):
        causes = check_choice(external, spec.external_traffic_policy, POLICIES)
    elif spec.external_traffic_policy:
        causes = [invalid(external, spec.external_traffic_policy, "may only be set for externally-accessible services")]
    else:
        causes = []
    causes += _health_check_port(spec)
    internal = SPEC.child("internalTrafficPolicy")
    if spec.HasField("internal_traffic_policy"):
        causes += [] if spec.internal_traffic_policy in POLICIES else [not_supported(internal, spec.internal_traffic_policy, POLICIES)]
    elif spec.type in ("ClusterIP", "NodePort", "LoadBalancer"):
        causes.append(required(internal))
    if spec.HasField("traffic_distribution") and spec.traffic_distribution not in DISTRIBUTIONS:
        causes.append(not_supported(SPEC.child("trafficDistribution"), spec.traffic_distribution, DISTRIBUTIONS))
    return causes


def _health_check_port(spec: core.ServiceSpec) -> list[Cause]:
    """0 is well: the allocator gives a port."""
    here, port = SPEC.child("healthCheckNodePort"), spec.health_check_node_port
    if not port:
        return []
    if needs_health_check_port(spec):
        return check_port_number(here, port)
    return [invalid(here, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")]


def _source_ranges(service: core.Service) -> list[Cause]:
    """The field, or the annotation that came before it. Kubernetes writes the field's name with a capital in these causes."""
    spec, annotations = service.spec, service.metadata.annotations
    if spec.load_balancer_source_ranges:
        path = SPEC.child("LoadBalancerSourceRanges")
        entries = [(path.index(index), text) for index, text in enumerate(spec.load_balancer_source_ranges)]
    elif SOURCE_RANGES_ANNOTATION in annotations:
        path = ANNOTATIONS.key(SOURCE_RANGES_ANNOTATION)
        text = annotations[SOURCE_RANGES_ANNOTATION].strip()
        entries = [(path, entry) for entry in text.split(",")] if text else []
    else:
        return []
    causes = [] if spec.type == "LoadBalancer" else [forbidden(path, BALANCER_ONLY)]
    return causes + [cause for here, text in entries for cause in check_format(here, text.strip(), cidr)]

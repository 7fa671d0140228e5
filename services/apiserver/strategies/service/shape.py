"""What the type of a Service makes it need. Pure questions, asked by defaults, rules and allocators alike."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core

NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def is_headless(spec: core.ServiceSpec) -> bool:
    return spec.cluster_ip == "None" or list(spec.cluster_ips[:1]) == ["None"]


def needs_cluster_ip(spec: core.ServiceSpec) -> bool:
    """Whether ``clusterIP`` has a meaning; "None" is a value, too."""
    return bool(spec.type != "ExternalName")


def needs_address(spec: core.ServiceSpec) -> bool:
    """Whether an address of the cluster is given to it."""
    return needs_cluster_ip(spec) and not is_headless(spec)


def needs_node_ports(spec: core.ServiceSpec) -> bool:
    """Whether ``nodePort`` has a meaning."""
    return spec.type in NODE_PORT_TYPES


def allocates_node_ports(spec: core.ServiceSpec) -> bool:
    """Whether ports without a ``nodePort`` are given one."""
    if spec.type == "LoadBalancer" and spec.HasField("allocate_load_balancer_node_ports"):
        return bool(spec.allocate_load_balancer_node_ports)
    return needs_node_ports(spec)


def is_externally_accessible(spec: core.ServiceSpec) -> bool:
    """Whether ``externalTrafficPolicy`` has a meaning."""
    return needs_node_ports(spec) or (spec.type == "ClusterIP" and bool(spec.external_ips))


def needs_health_check_port(spec: core.ServiceSpec) -> bool:
    return bool(spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local")

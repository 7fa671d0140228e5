"""Defaults of a Service, as Kubernetes 1.32 fills them in (one IP family: IPv4)."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core

NODE_PORT_TYPES = ("NodePort", "LoadBalancer")
CLIENT_IP_TIMEOUT_SECONDS = 10_800


def default_service(service: core.Service) -> None:
    spec = service.spec
    spec.type = spec.type or "ClusterIP"
    spec.session_affinity = spec.session_affinity or "None"
    if spec.session_affinity == "ClientIP":
        if not spec.session_affinity_config.client_ip.HasField("timeout_seconds"):
            spec.session_affinity_config.client_ip.timeout_seconds = CLIENT_IP_TIMEOUT_SECONDS
    elif spec.session_affinity == "None":
        spec.ClearField("session_affinity_config")
    for port in spec.ports:
        port.protocol = port.protocol or "TCP"
        if not port.target_port.int_val and not port.target_port.str_val:
            port.target_port.type, port.target_port.int_val = 0, port.port
    if spec.type in NODE_PORT_TYPES:
        spec.external_traffic_policy = spec.external_traffic_policy or "Cluster"
    if spec.type == "LoadBalancer" and not spec.HasField("allocate_load_balancer_node_ports"):
        spec.allocate_load_balancer_node_ports = True
    if spec.type != "ExternalName" and not spec.HasField("internal_traffic_policy"):
        spec.internal_traffic_policy = "Cluster"


def is_headless(spec: core.ServiceSpec) -> bool:
    return spec.cluster_ip == "None" or list(spec.cluster_ips[:1]) == ["None"]


def default_ip_families(spec: core.ServiceSpec) -> None:
    """Families and their policy; a headless Service without a selector may have addresses of both."""
    if spec.type == "ExternalName":
        return
    if is_headless(spec) and not spec.selector:
        if not spec.ip_families:
            spec.ip_families.extend(["IPv4", "IPv6"] if spec.ip_family_policy != "SingleStack" else ["IPv4"])
        if not spec.HasField("ip_family_policy"):
            spec.ip_family_policy = "RequireDualStack"
        return
    if not spec.ip_families:
        spec.ip_families.append("IPv6" if ":" in spec.cluster_ip else "IPv4")
    if not spec.HasField("ip_family_policy"):
        spec.ip_family_policy = "SingleStack"

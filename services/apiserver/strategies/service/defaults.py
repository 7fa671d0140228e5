"""Defaults of a Service, as Kubernetes fills them in."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.service.shape import is_externally_accessible

CLIENT_IP_TIMEOUT_SECONDS = 10_800
WITH_INTERNAL_POLICY = ("ClusterIP", "NodePort", "LoadBalancer")


def default_service(service: core.Service) -> None:
    spec = service.spec
    spec.type = spec.type or "ClusterIP"
    _default_affinity(spec)
    for port in spec.ports:
        port.protocol = port.protocol or "TCP"
        if not port.target_port.int_val and not port.target_port.str_val:
            port.target_port.type, port.target_port.int_val = 0, port.port
    if is_externally_accessible(spec):
        spec.external_traffic_policy = spec.external_traffic_policy or "Cluster"
    if spec.type in WITH_INTERNAL_POLICY and not spec.HasField("internal_traffic_policy"):
        spec.internal_traffic_policy = "Cluster"
    if spec.type == "LoadBalancer":
        if not spec.HasField("allocate_load_balancer_node_ports"):
            spec.allocate_load_balancer_node_ports = True
        default_ingress(service.status)


def default_ingress(status: core.ServiceStatus) -> None:
    """An address that a load balancer answers at is carried by the nodes themselves unless it says otherwise."""
    for ingress in status.load_balancer.ingress:
        if ingress.ip and not ingress.HasField("ip_mode"):
            ingress.ip_mode = "VIP"


def _default_affinity(spec: core.ServiceSpec) -> None:
    spec.session_affinity = spec.session_affinity or "None"
    if spec.session_affinity == "ClientIP":
        if not spec.session_affinity_config.client_ip.HasField("timeout_seconds"):
            spec.session_affinity_config.client_ip.timeout_seconds = CLIENT_IP_TIMEOUT_SECONDS
    elif spec.session_affinity == "None":
        spec.ClearField("session_affinity_config")

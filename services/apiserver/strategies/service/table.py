"""One line about a Service, as ``kubectl get services`` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.table import NONE, age, columns, labels_text

COLUMNS = columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",))
PENDING = "<pending>"


def service_cells(service: core.Service, now: datetime) -> list[object]:
    spec = service.spec
    return [
        service.metadata.name,
        spec.type,
        (spec.cluster_ips[0] if spec.cluster_ips else spec.cluster_ip) or NONE,
        _external(service),
        _ports(spec.ports),
        age(service, now),
        labels_text(spec.selector),
    ]


def _external(service: core.Service) -> str:
    """Where it is reached from outside: a list with commas, ``<pending>`` while the load balancer has said nothing."""
    spec = service.spec
    if spec.type == "ExternalName":
        return spec.external_name
    if spec.type == "LoadBalancer":
        balanced = sorted({entry.ip or entry.hostname for entry in service.status.load_balancer.ingress} - {""})
        return ",".join([*balanced, *spec.external_ips]) or PENDING
    return ",".join(spec.external_ips) or NONE


def _ports(ports: Sequence[core.ServicePort]) -> str:
    texts = (f"{port.port}:{port.node_port}/{port.protocol}" if port.node_port else f"{port.port}/{port.protocol}" for port in ports)
    return ",".join(texts) or NONE

"""One line about a Service, as ``kubectl get services`` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.table import NONE, age, columns, labels_text

COLUMNS = columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",))
INGRESS_WIDTH = 16


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
    spec = service.spec
    given = ",".join(spec.external_ips)
    if spec.type == "LoadBalancer":
        ingress = sorted({entry.ip or entry.hostname for entry in service.status.load_balancer.ingress} - {""})
        balanced = ",".join(ingress)
        if len(balanced) > INGRESS_WIDTH:
            balanced = balanced[: INGRESS_WIDTH - 3] + "..."
        return ",".join(part for part in (balanced, given) if part) or "<pending>"
    if spec.type == "ExternalName":
        return spec.external_name
    return given or NONE


def _ports(ports: Sequence[core.ServicePort]) -> str:
    texts = (f"{port.port}:{port.node_port}/{port.protocol}" if port.node_port else f"{port.port}/{port.protocol}" for port in ports)
    return ",".join(texts) or NONE

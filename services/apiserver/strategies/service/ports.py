"""Rules about the ports of a Service. Whether a node port is free is the allocator's affair."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    Structure,
    check_choice,
    check_format,
    check_port_number,
    dns1123_label,
    duplicate,
    forbidden,
    qualified_name,
    required,
)
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.probes import validate_port_number_or_name

PORTS = SPEC.child("ports")
# Protocols that an endpoint may speak.
PROTOCOLS = ("SCTP", "TCP", "UDP")
# Protocols that the nodes' proxies carry. A Service with another one would be accepted and never answer.
CARRIED_PROTOCOLS = ("TCP", "UDP")


def validate_ports(spec: core.ServiceSpec) -> list[Cause]:
    """Each port by itself, and names that no other port has."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(spec.ports):
        causes += _port(port, len(spec.ports) > 1, names, PORTS.index(index))
    return causes


def validate_ports_together(spec: core.ServiceSpec) -> list[Cause]:
    """Node ports where the type has any; each (protocol, port) and (protocol, node port) once."""
    causes: list[Cause] = []
    if spec.type == "ClusterIP":
        causes += [
            forbidden(PORTS.index(index).child("nodePort"), "may not be used when `type` is 'ClusterIP'")
            for index, port in enumerate(spec.ports)
            if port.node_port
        ]
    node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(spec.ports):
        if port.node_port and (port.protocol, port.node_port) in node_ports:
            causes.append(duplicate(PORTS.index(index).child("nodePort"), port.node_port))
        node_ports.add((port.protocol, port.node_port))
    numbers: set[tuple[str, int]] = set()
    for index, port in enumerate(spec.ports):
        if (port.protocol, port.port) in numbers:
            causes.append(duplicate(PORTS.index(index), _port_shown(port)))
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
    causes += check_port_number(path.child("port"), port.port)
    causes += check_choice(path.child("protocol"), port.protocol, CARRIED_PROTOCOLS)
    causes += validate_port_number_or_name(port.target_port, path.child("targetPort"))
    if port.HasField("app_protocol"):
        causes += check_format(path.child("appProtocol"), port.app_protocol, qualified_name)
    return causes


def _port_shown(port: core.ServicePort) -> Structure:
    return Structure(Name="", Protocol=port.protocol, AppProtocol=None, Port=port.port, TargetPort=0, NodePort=0)

"""Short makers of the objects a proxy reads."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery


def service(
    name: str = "web", *, cluster_ip: str = "10.96.0.10", port: int = 80, port_name: str = "http", node_port: int = 0
) -> core.Service:
    made = core.Service()
    made.metadata.namespace, made.metadata.name = "default", name
    made.spec.cluster_ip = cluster_ip
    made.spec.type = "NodePort" if node_port else "ClusterIP"
    made.spec.ports.add(name=port_name, port=port, node_port=node_port, protocol="TCP")
    return made


def slice_of(
    name: str, addresses: Sequence[str], *, port: int = 8080, port_name: str = "http", suffix: str = "1"
) -> discovery.EndpointSlice:
    made = discovery.EndpointSlice(address_type="IPv4")
    made.metadata.namespace, made.metadata.name = "default", f"{name}-{suffix}"
    made.metadata.labels["kubernetes.io/service-name"] = name
    made.ports.add(name=port_name, port=port, protocol="TCP")
    for address in addresses:
        made.endpoints.add(addresses=[address]).conditions.ready = True
    return made

"""What one Service wants of this node: its routes, before others' older claims are looked at."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from services.proxy.routing.endpoints import PROTOCOLS, Choice, Place, choose, is_ipv4
from services.proxy.routing.table import CLUSTER, LOCAL, Endpoint, Route, RouteKey

# The node that announces a Service's load-balancer addresses, written by the cloud controller manager.
HOLDER_ANNOTATION = "knarr.io/load-balancer-node"
AFFINITY_SECONDS = 10800
REFUSED_PROTOCOL = "sctp"
EVERYONE = "0.0.0.0/0"


def routes_of(service: core.Service, slices: Sequence[discovery.EndpointSlice], place: Place) -> list[Route]:
    """The routes of a Service, one a port; none for headless and ExternalName ones."""
    spec = service.spec
    cluster_ips = _ipv4([spec.cluster_ip, *spec.cluster_ips])
    if spec.type == "ExternalName" or not cluster_ips:
        return []
    return [_route(service, port, cluster_ips, slices, place) for port in spec.ports if port.protocol in PROTOCOLS]


def _route(
    service: core.Service,
    port: core.ServicePort,
    cluster_ips: tuple[str, ...],
    slices: Sequence[discovery.EndpointSlice],
    place: Place,
) -> Route:
    node_name = place.node
    spec, key = service.spec, RouteKey(service.metadata.namespace, service.metadata.name, port.name)
    protocol = PROTOCOLS[port.protocol]
    if protocol == REFUSED_PROTOCOL:
        return Route(key, protocol, (), port.port, limitations=("SCTP is not served",))
    load_balancer_ips = _ingress_ips(service)
    external_ips = tuple(ip for ip in _ipv4(spec.external_ips) if ip not in load_balancer_ips)
    chosen = choose(slices, port.name, protocol, place)
    internal, external = _policies(spec, node_name)
    health_check_port = spec.health_check_node_port if external == LOCAL and spec.type == "LoadBalancer" else 0
    return Route(
        key=key,
        protocol=protocol,
        cluster_ips=cluster_ips,
        port=port.port,
        node_port=port.node_port,
        endpoints=chosen.everywhere,
        limitations=_limitations(spec, node_name),
        external_ips=external_ips,
        load_balancer_ips=load_balancer_ips,
        source_ranges=_source_ranges(spec) if load_balancer_ips else (),
        internal_policy=internal,
        external_policy=external,
        local_endpoints=_local(chosen, internal, external),
        affinity_seconds=_affinity_seconds(spec),
        health_check_port=health_check_port,
        local_ready=chosen.ready_here if health_check_port else (),
        held=bool(load_balancer_ips) and bool(node_name) and service.metadata.annotations.get(HOLDER_ANNOTATION) == node_name,
    )


def _local(chosen: Choice, *policies: str) -> tuple[Endpoint, ...]:
    return chosen.here if LOCAL in policies else ()


def _policies(spec: core.ServiceSpec, node_name: str) -> tuple[str, str]:
    """Internal and external; a node that does not know its own name cannot tell its endpoints from those of others."""
    if not node_name:
        return CLUSTER, CLUSTER
    return spec.internal_traffic_policy or CLUSTER, spec.external_traffic_policy or CLUSTER


def _ingress_ips(service: core.Service) -> tuple[str, ...]:
    """Those that reach the node as they are. With the mode ``Proxy`` the load balancer puts the node's address in their place."""
    if service.spec.type != "LoadBalancer":
        return ()
    return _ipv4(ingress.ip for ingress in service.status.load_balancer.ingress if ingress.ip_mode != "Proxy")


def _source_ranges(spec: core.ServiceSpec) -> tuple[str, ...]:
    """Only what can be read counts, as for Kubernetes; where none of it is IPv4, nobody gets in by IPv4."""
    found = set()
    for text in spec.load_balancer_source_ranges:
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            continue
        if network.version == 4:
            found.add(str(network))
    if EVERYONE in found:
        return ()
    return tuple(sorted(found)) or (("255.255.255.255/32",) if spec.load_balancer_source_ranges else ())


def _affinity_seconds(spec: core.ServiceSpec) -> int:
    if spec.session_affinity != "ClientIP":
        return 0
    return spec.session_affinity_config.client_ip.timeout_seconds or AFFINITY_SECONDS


def _limitations(spec: core.ServiceSpec, node_name: str) -> tuple[str, ...]:
    found = []
    for name, policy in (("externalTrafficPolicy", spec.external_traffic_policy), ("internalTrafficPolicy", spec.internal_traffic_policy)):
        if policy == LOCAL and not node_name:
            found.append(f"{name} Local is treated as Cluster: this node's name is not known to its proxy")
    if any(":" in ip for ip in (*spec.cluster_ips, *spec.external_ips)):
        found.append("IPv6 addresses are not served")
    return tuple(found)


def _ipv4(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if is_ipv4(text)}))

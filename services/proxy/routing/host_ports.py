"""Host ports: what pods of this node are reached at through the node, as routes beside those of Services.

A host port is a port of the node, like a NodePort, that leads to one pod: the client's address is kept, so that NetworkPolicy judges the
client. With a ``hostIP`` it is reached at that address alone.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.host_ports import ANY_ADDRESS
from knarr.objects.pods import is_finished, lasting_containers
from services.proxy.routing.endpoints import PROTOCOLS, is_ipv4
from services.proxy.routing.table import LOCAL, Endpoint, Name, Route, RouteKey
from services.proxy.routing.wishes import REFUSED_PROTOCOL

# Stands before a pod's name where a Service's name stands otherwise; no name of a Service has a slash.
POD = "pod/"


def owner_of(pod: core.Pod) -> Name:
    """The name under which a ``Router`` knows a pod."""
    return pod.metadata.namespace, POD + pod.metadata.name


def routes_of_pod(pod: core.Pod) -> list[Route]:
    """One for each host port; none while the pod has no address of its own: not yet, no more, or never (hostNetwork)."""
    if pod.spec.host_network or not is_ipv4(pod.status.pod_ip) or is_finished(pod):
        return []
    ports = {_key(pod, port): port for container in lasting_containers(pod.spec) for port in container.ports if port.host_port}
    return [_route(pod, key, port) for key, port in ports.items()]


def _key(pod: core.Pod, port: core.ContainerPort) -> RouteKey:
    place = f"-{port.host_ip}" if _bound(port) else ""
    return RouteKey(*owner_of(pod), f"{(port.protocol or 'TCP').lower()}-{port.host_port}{place}")


def _bound(port: core.ContainerPort) -> bool:
    """Whether it is to be reached at one address alone."""
    return port.host_ip not in ("", ANY_ADDRESS)


def _route(pod: core.Pod, key: RouteKey, port: core.ContainerPort) -> Route:
    protocol = PROTOCOLS.get(port.protocol, REFUSED_PROTOCOL)
    if protocol == REFUSED_PROTOCOL:
        return Route(key, protocol, (), port.host_port, limitations=("SCTP is not served",))
    if _bound(port) and not is_ipv4(port.host_ip):
        return Route(key, protocol, (), port.host_port, limitations=(f"hostIP {port.host_ip}: only IPv4 is served",))
    endpoints = (Endpoint(pod.status.pod_ip, port.container_port, pod.metadata.name),)
    return Route(
        key=key,
        protocol=protocol,
        cluster_ips=(),
        port=port.host_port,
        node_port=0 if _bound(port) else port.host_port,
        host_ips=(port.host_ip,) if _bound(port) else (),
        endpoints=endpoints,
        local_endpoints=endpoints,
        external_policy=LOCAL,
    )

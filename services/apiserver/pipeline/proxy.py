"""Where requests to the ``proxy`` of a pod, a Service or a node are passed on to.

Pods are reached through the kubelet of their node, at their own address; a Service is one of its ready pods. Nodes are reached directly.
Addresses that only their own machine means are refused: nobody reaches this server's loopback by it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, bad_request, status_error
from services.apiserver.node_streams import KubeletCredentials, node_address
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.read import cached
from services.apiserver.pipeline.streams import NODES, connect, node_of
from services.apiserver.request import Request
from services.apiserver.results import Ref
from services.apiserver.ways import Connect, addresses, allowed_address, port_name

PODS, ENDPOINTS = version_of(core.Pod), version_of(core.Endpoints)
SCHEMES = ("", "http", "https")
DEFAULT_PORTS = {"http": "80", "https": "443"}


class Asked(NamedTuple):
    """What a name says: ``scheme:name:port``, of which scheme and port may be left out; the port is a number or a name."""

    scheme: str
    name: str
    port: str


@dataclass(frozen=True, slots=True)
class Destination:
    """``scheme`` is http or https; ``host`` is as it stands in a URL there. Each connection is one call of ``connect``.

    ``credentials`` are this server's own, for a kubelet: whose certificate is taken there, and who it is told that it is.
    """

    scheme: str
    host: str
    connect: Connect
    credentials: KubeletCredentials | None = None


async def destination(pipeline: Pipeline, request: Request) -> Destination:
    """Refuses what admission or the object refuse. Admission is given the options as the object of a CONNECT."""
    options = await connect(pipeline, request)
    return await FINDERS[type(options)](pipeline, request)


def asked(name: str, kind: str) -> Asked:
    """Raises BadRequest."""
    match name.split(":"):
        case [only]:
            found = Asked("", only, "")
        case [before, port]:
            found = Asked("", before, port)
        case [scheme, before, port]:
            found = Asked(scheme, before, port)
        case _:
            found = Asked("", "", "")
    if not found.name or found.scheme not in SCHEMES:
        raise bad_request(f'invalid {kind} request "{name}"')
    return found


async def _pod(pipeline: Pipeline, request: Request) -> Destination:
    wanted = asked(request.name, "pod")
    pod: core.Pod = (await cached(pipeline, request, Ref(PODS, request.namespace, wanted.name))).shared_message
    declared = next((str(container.ports[0].container_port) for container in pod.spec.containers if container.ports), "")
    return await _to_pod(pipeline, request, pod, wanted.scheme or "http", wanted.port or declared)


async def _to_pod(pipeline: Pipeline, request: Request, pod: core.Pod, scheme: str, port: str) -> Destination:
    address, number = allowed_address(pod.status.pod_ip), _number(port or DEFAULT_PORTS[scheme])
    node = await node_of(pipeline, request, pod)
    return Destination(scheme, _host(address, number), lambda data: pipeline.node_streams.forward(pod, node, number, data, by_address=True))


async def _service(pipeline: Pipeline, request: Request) -> Destination:
    """A ready pod of the Service, by the port's name; as in Kubernetes no other address that stands in its Endpoints."""
    wanted = asked(request.name, "service")
    service: core.Service = (await cached(pipeline, request, Ref(request.ref.version, request.namespace, wanted.name))).shared_message
    port = wanted.port
    if port.isascii() and port.isdigit():
        port = port_name(service, int(port))
    endpoints: core.Endpoints = (await cached(pipeline, request, Ref(ENDPOINTS, request.namespace, wanted.name))).shared_message
    candidates = addresses(endpoints, port)
    pipeline.backend.source.shuffle(candidates)
    for address, number in candidates:
        pod = await _behind(pipeline, request, address)
        if pod is not None:
            return await _to_pod(pipeline, request, pod, wanted.scheme or "http", str(number))
    raise status_error("ServiceUnavailable", f'no endpoints available for service "{request.name}"')


async def _behind(pipeline: Pipeline, request: Request, address: core.EndpointAddress) -> core.Pod | None:
    """The pod that has the address; None where there is none such in the Service's namespace."""
    target = address.target_ref
    if not target.name or target.namespace != request.namespace:
        return None
    try:
        pod: core.Pod = (await cached(pipeline, request, Ref(PODS, request.namespace, target.name))).shared_message
    except StatusError:
        return None
    return pod if pod.status.pod_ip == address.ip else None


async def _node(pipeline: Pipeline, request: Request) -> Destination:
    wanted = asked(request.name, "node")
    node: core.Node = (await cached(pipeline, request, Ref(NODES, name=wanted.name))).shared_message
    kubelet_port = str(node.status.daemon_endpoints.kubelet_endpoint.port or "")
    is_kubelet = wanted.port in ("", kubelet_port)
    if is_kubelet and not kubelet_port:
        raise status_error("ServiceUnavailable", f"node {wanted.name} has not said yet where its kubelet listens")
    address, number = allowed_address(node_address(node)), _number(wanted.port or kubelet_port)

    def connected(data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        return pipeline.node_streams.connect(address, number, data)

    if is_kubelet:
        # As itself, whatever the caller said of the scheme: he may reach the kubelet through here, not show it what is his.
        return Destination("https", _host(address, number), connected, pipeline.kubelet_credentials(wanted.name))
    return Destination(wanted.scheme or "http", _host(address, number), connected)


def _number(port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise status_error("ServiceUnavailable", f"error trying to reach service: dial tcp: lookup tcp/{port}: unknown port")
    return int(port)


def _host(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# By the options that an object's ``proxy`` takes.
FINDERS: dict[type[Any], Callable[[Pipeline, Request], Awaitable[Destination]]] = {
    core.PodProxyOptions: _pod,
    core.ServiceProxyOptions: _service,
    core.NodeProxyOptions: _node,
}

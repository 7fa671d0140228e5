"""How this server reaches what stands behind a Service: webhooks, extension API servers.

A pod is reached through the kubelet of its node, at the pod's own address: this server need have no route to pods. An endpoint that no
pod has is dialled from here, as is the name that a Service of the type ExternalName stands for. Who is asked proves by a certificate that
it is meant; addresses that only this machine means are refused all the same.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, bad_request, not_found, status_error
from knarr.machinery.resources import Resource
from services.apiserver.backend import Backend
from services.apiserver.node_streams import DIAL_SECONDS, NodeStreams

SERVICES, ENDPOINTS = version_of(core.Service).resource, version_of(core.Endpoints).resource
PODS, NODES = version_of(core.Pod).resource, version_of(core.Node).resource

# A connection: given what is to be said, answers what is said back. Raises StatusError where it cannot be made.
Connect = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]


class Ways:
    """Finds ways in what the cache knows at that moment: a way is for one connection, and is looked up again for the next."""

    def __init__(self, backend: Backend, node_streams: NodeStreams) -> None:
        self._backend, self._node_streams = backend, node_streams

    def to_service(self, namespace: str, name: str, port: int) -> Connect:
        """A ready endpoint of the Service, by the number of its port; another one each time where there are several.

        Raises NotFound without the Service, ServiceUnavailable without the port or an endpoint, in Kubernetes' words.
        """
        service = self._find(SERVICES, namespace, name)
        if service is None:
            raise not_found("services", name)
        if service.spec.type == "ExternalName":
            return lambda data: self._named(service.spec.external_name, port, data)
        endpoints = self._find(ENDPOINTS, namespace, name)
        found = addresses(endpoints, port_name(service, port)) if endpoints is not None else []
        if not found:
            raise status_error("ServiceUnavailable", f'no endpoints available for service "{name}"')
        address, number = self._backend.source.choice(found)
        return self._to(namespace, address, number)

    def _to(self, namespace: str, address: core.EndpointAddress, number: int) -> Connect:
        pod = self._find(PODS, namespace, address.target_ref.name) if address.target_ref.kind == "Pod" else None
        if pod is None or pod.status.pod_ip != address.ip:
            return self._dialled(allowed_address(address.ip), number)
        node = self._find(NODES, "", pod.spec.node_name)
        if node is None:
            raise status_error("ServiceUnavailable", f"the node {pod.spec.node_name} of pod {pod.metadata.name} is gone")
        return lambda data: self._node_streams.forward(pod, node, number, data, by_address=True)

    def _dialled(self, host: str, port: int) -> Connect:
        return lambda data: self._node_streams.connect(host, port, data)

    async def _named(self, name: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The first address of a name that answers. It is looked at what is dialled, not at the name: that may mean another by then."""
        found = await resolved(name, port)
        for address in found:
            try:
                async with aclosing(self._node_streams.connect(address, port, data)) as pieces:  # type: ignore[type-var]
                    async for piece in pieces:
                        yield piece
                return
            except StatusError:
                # Raised before anything was said.
                if address == found[-1]:
                    raise

    def _find(self, resource: Resource, namespace: str, name: str) -> Any | None:
        entry = self._backend.cache.get(resource, namespace, name)
        return entry.shared_message if entry is not None else None


def port_name(service: core.Service, port: int) -> str:
    """What the Service calls the port of that number, which is what its endpoints call it. Raises ServiceUnavailable."""
    found = next((found for found in service.spec.ports if found.port == port), None)
    if found is None:
        raise status_error("ServiceUnavailable", f'no service port {port} found for service "{service.metadata.name}"')
    return found.name


def addresses(endpoints: core.Endpoints, name: str) -> list[tuple[core.EndpointAddress, int]]:
    """The ready addresses with the number that the port has there."""
    return [
        (address, found.port)
        for subset in endpoints.subsets
        for found in subset.ports
        if found.name == name
        for address in subset.addresses
    ]


async def resolved(name: str, port: int) -> list[str]:
    """The addresses of a name, or of an address that stands for one. Raises ServiceUnavailable, BadRequest where one is not allowed."""
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        raise status_error("ServiceUnavailable", f"dial tcp: lookup {name}: no such host") from None
    return list(dict.fromkeys(allowed_address(str(address[0])) for *_, address in found))


def allowed_address(address: str) -> str:
    """Raises BadRequest for an address that others than its own machine do not reach by it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise bad_request("address not allowed") from None
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local or str(found) == "255.255.255.255":
        raise bad_request("address not allowed")
    return str(found)

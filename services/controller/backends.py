"""The facts about a Service's pods that EndpointSlices and Endpoints both tell."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.pods import is_deleting, is_finished, is_ready

HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE_LABEL = "topology.kubernetes.io/zone"
_STRING = 1


@dataclass(frozen=True, slots=True)
class Port:
    """A Service port as one pod serves it: the number is the pod's own."""

    name: str
    protocol: str
    number: int
    app_protocol: str


@dataclass(frozen=True, slots=True)
class Backend:
    """One pod behind a Service. ``serving`` says that it is ready, even while it terminates.

    ``zone`` is that of its node; empty when the node does not say or was not asked for.
    """

    pod: core.Pod
    addresses: tuple[str, ...]
    ports: tuple[Port, ...]
    serving: bool
    terminating: bool
    zone: str = ""

    def address(self, family: str) -> str:
        """Its first address of the family (``IPv4`` or ``IPv6``); empty when it has none."""
        return next((address for address in self.addresses if family_of(address) == family), "")


# Answers a node by its name; None when there is none.
NodeOf = Callable[[str], "core.Node | None"]


def family_of(address: str) -> str:
    return f"IPv{ipaddress.ip_address(address).version}"


def families(service: core.Service) -> list[str]:
    return list(service.spec.ip_families) or ["IPv4"]


def is_headless(service: core.Service) -> bool:
    return bool(service.spec.cluster_ip == "None")


def selects(service: core.Service) -> bool:
    """Whether endpoints are made for it; others keep theirs by hand."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def backends(service: core.Service, pods: Iterable[core.Pod], node_of: NodeOf | None = None) -> list[Backend]:
    """The selected pods that have an address and have not finished, by name.

    With ``node_of`` the pods of nodes that are gone are left out, unless the Service publishes whatever there is.
    """
    wanted = dict(service.spec.selector).items()
    found = [
        backend
        for pod in pods
        if not is_finished(pod) and wanted <= dict(pod.metadata.labels).items() and (backend := _backend(service, pod, node_of))
    ]
    return sorted(found, key=lambda backend: str(backend.pod.metadata.name))


def _backend(service: core.Service, pod: core.Pod, node_of: NodeOf | None) -> Backend | None:
    addresses = addresses_of(pod)
    if not addresses:
        return None
    zone = ""
    if node_of is not None and pod.spec.node_name:
        node = node_of(pod.spec.node_name)
        if node is None and not service.spec.publish_not_ready_addresses:
            return None
        zone = zone_of(node)
    return Backend(pod, addresses, ports_of(service, pod), is_ready(pod), is_deleting(pod), zone)


def zone_of(node: core.Node | None) -> str:
    """Empty when the node is unknown or does not say."""
    return "" if node is None else str(node.metadata.labels.get(ZONE_LABEL, ""))


def addresses_of(pod: core.Pod) -> tuple[str, ...]:
    return tuple(entry.ip for entry in pod.status.pod_ips) or ((pod.status.pod_ip,) if pod.status.pod_ip else ())


def ports_of(service: core.Service, pod: core.Pod) -> tuple[Port, ...]:
    """The Service's ports as this pod serves them; a named port that it lacks is left out."""
    ports = list[Port]()
    for port in service.spec.ports:
        number = _target(port, pod)
        if number:
            ports.append(Port(port.name, port.protocol or "TCP", number, port.app_protocol))
    return tuple(ports)


def target_reference(pod: core.Pod) -> core.ObjectReference:
    return core.ObjectReference(kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid)


def hostname_of(service: core.Service, pod: core.Pod) -> str:
    """The pod's DNS host name, where it asks for one under this Service."""
    return str(pod.spec.hostname) if pod.spec.subdomain == service.metadata.name else ""


def matters(old: core.Pod | None, new: core.Pod | None) -> bool:
    """Whether a change of a pod can change what endpoints tell of it."""
    return _facts(old) != _facts(new)


def _facts(pod: core.Pod | None) -> object:
    if pod is None:
        return None
    return (
        pod.metadata.uid,
        is_deleting(pod),
        is_finished(pod),
        is_ready(pod),
        addresses_of(pod),
        pod.spec.node_name,
        dict(pod.metadata.labels),
    )


def _target(port: core.ServicePort, pod: core.Pod) -> int:
    """0 when the pod has no port of that name."""
    target = port.target_port
    if target.type != _STRING:
        return int(target.int_val or port.port)
    for container in [*pod.spec.containers, *(c for c in pod.spec.init_containers if c.restart_policy == "Always")]:
        for candidate in container.ports:
            if candidate.name == target.str_val and (candidate.protocol or "TCP") == (port.protocol or "TCP"):
                return int(candidate.container_port)
    return 0

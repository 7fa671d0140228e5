"""The facts about a Service's pods that EndpointSlices and Endpoints both tell."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import get_condition
from knarr.objects.int_or_string import is_text
from knarr.objects.keys import Key, is_deleting
from knarr.objects.labels import ZONE
from knarr.objects.pods import addresses_of, is_finished, is_ready, lasting_containers


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

    ``addresses`` is its first address of each family (``IPv4`` or ``IPv6``). ``ready_changed`` is when it became ready or ceased
    to be, in Unix seconds. ``zone`` is that of its node; empty when the node does not say or was not asked for.
    """

    pod: core.Pod
    name: str
    uid: str
    addresses: Mapping[str, str]
    ports: tuple[Port, ...]
    serving: bool
    terminating: bool
    ready_changed: int = 0
    zone: str = ""
    # What was made of these facts, for those who make the same of them again.
    told: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)


# Answers a node by its name; None when there is none.
NodeOf = Callable[[str], "core.Node | None"]


@lru_cache(maxsize=1 << 16)
def family_of(address: str) -> str:
    return f"IPv{ipaddress.ip_address(address).version}"


def families(service: core.Service) -> list[str]:
    return list(service.spec.ip_families) or ["IPv4"]


def is_headless(service: core.Service) -> bool:
    return bool(service.spec.cluster_ip == "None")


def selects(service: core.Service) -> bool:
    """Whether endpoints are made for it; others keep theirs by hand."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def backends(
    service: core.Service, pods: Iterable[core.Pod], node_of: NodeOf | None = None, known: Mapping[str, Backend] | None = None
) -> list[Backend]:
    """The selected pods that have an address and have not finished, by name.

    With ``node_of`` the pods of nodes that are gone are left out, unless the Service publishes whatever there is.
    ``known`` are Backends of the very same Service by pod uid: those of pods that are still the same are taken over.
    """
    wanted, before = dict(service.spec.selector).items(), known or {}
    found = [backend for pod in pods if (backend := _backend(service, wanted, pod, node_of, before.get(pod.metadata.uid)))]
    return sorted(found, key=lambda backend: backend.name)


def _backend(
    service: core.Service, wanted: Set[tuple[str, str]], pod: core.Pod, node_of: NodeOf | None, known: Backend | None
) -> Backend | None:
    same = known if known is not None and known.pod is pod else None
    if same is None and (is_finished(pod) or not wanted <= dict(pod.metadata.labels).items() or not addresses_of(pod)):
        return None
    zone = ""
    if node_of is not None and pod.spec.node_name:
        node = node_of(pod.spec.node_name)
        if node is None and not service.spec.publish_not_ready_addresses:
            return None
        zone = zone_of(node)
    if same is not None and same.zone == zone:
        return same
    metadata, addresses = pod.metadata, {family_of(address): address for address in reversed(addresses_of(pod))}
    ready, changed = is_ready(pod), _ready_changed(pod)
    return Backend(pod, metadata.name, metadata.uid, addresses, ports_of(service, pod), ready, is_deleting(pod), changed, zone)


def _ready_changed(pod: core.Pod) -> int:
    condition = get_condition(pod.status, "Ready")
    return int(condition.last_transition_time.seconds) if condition is not None else 0


class KnownBackends:
    """The Backends of each Service as they were last: a change of one pod costs what that pod costs, not all of them."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[core.Service, dict[str, Backend]]] = {}

    def of(self, key: Key, service: core.Service, pods: Iterable[core.Pod], node_of: NodeOf | None = None) -> list[Backend]:
        """As ``backends``; the objects are those of an informer's store, which are never changed, only replaced."""
        before = self._known.get(key)
        made = backends(service, pods, node_of, before[1] if before is not None and before[0] is service else None)
        self._known[key] = (service, {backend.uid: backend for backend in made})
        return made

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)


def zone_of(node: core.Node | None) -> str:
    """Empty when the node is unknown or does not say."""
    return "" if node is None else str(node.metadata.labels.get(ZONE, ""))


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
    if not is_text(target):
        return int(target.int_val or port.port)
    for container in lasting_containers(pod.spec):
        for candidate in container.ports:
            if candidate.name == target.str_val and (candidate.protocol or "TCP") == (port.protocol or "TCP"):
                return int(candidate.container_port)
    return 0

"""EndpointSliceMirroring: Endpoints that somebody keeps by hand, in the newer form that the proxies read."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.objects.labels import SERVICE_NAME, SLICE_MANAGED_BY
from knarr.objects.names import generated
from knarr.objects.owners import owner_reference
from services.controller.endpoints.backends import Port, family_of
from services.controller.endpoints.labels import ENDPOINTS_MANAGED_BY, ENDPOINTS_MANAGER, HEADLESS
from services.controller.endpoints.slices import Plan
from services.controller.endpoints.trigger_time import ANNOTATION as TRIGGER_ANNOTATION

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
# Of one subset; the same number of endpoints goes into one slice.
MAX_ADDRESSES = 1000

_NOT_COPIED_LABELS = frozenset({SERVICE_NAME, SLICE_MANAGED_BY, HEADLESS})
_NOT_COPIED_ANNOTATIONS = frozenset({LAST_APPLIED_ANNOTATION, TRIGGER_ANNOTATION})

# What all endpoints of one slice share: the address family and the ports.
_Group = tuple[str, tuple[Port, ...]]


def is_mirrored(service: core.Service | None, endpoints: core.Endpoints | None) -> bool:
    """Whether slices are to be made: of a Service without a selector, and of Endpoints that are endpoints."""
    if service is None or endpoints is None or service.spec.selector:
        return False
    labels = endpoints.metadata.labels
    return (
        labels.get(SKIP_LABEL) != "true"
        and labels.get(ENDPOINTS_MANAGED_BY) != ENDPOINTS_MANAGER
        and LEADER_ANNOTATION not in endpoints.metadata.annotations
    )


def decide(endpoints: core.Endpoints, slices: Sequence[discovery.EndpointSlice], limit: int = MAX_ADDRESSES) -> Plan:
    """``slices`` are the mirrored ones of the Service; of each subset ``limit`` addresses count, ready ones first."""
    wanted = _wanted(endpoints, limit)
    spare: defaultdict[_Group, list[discovery.EndpointSlice]] = defaultdict(list)
    for found in sorted(slices, key=lambda found: str(found.metadata.name)):
        spare[_group(found)].append(found)
    create, update = list[discovery.EndpointSlice](), list[discovery.EndpointSlice]()
    for group, told in wanted.items():
        for start in range(0, len(told), limit):
            old = spare[group].pop(0) if spare[group] else None
            made = _slice(endpoints, group, told[start : start + limit], old)
            if old is None:
                create.append(made)
            elif made != old:
                update.append(made)
    return Plan(create, update, [found for left in spare.values() for found in left])


def skipped(endpoints: core.Endpoints, limit: int = MAX_ADDRESSES) -> int:
    """How many addresses are beyond the limit of their subset."""
    return sum(max(0, len(subset.addresses) + len(subset.not_ready_addresses) - limit) for subset in endpoints.subsets)


def _wanted(endpoints: core.Endpoints, limit: int) -> dict[_Group, list[discovery.Endpoint]]:
    """Endpoints by group, each address once and in order: however they are written down, the slices are the same."""
    wanted: defaultdict[_Group, dict[str, discovery.Endpoint]] = defaultdict(dict)
    for subset in endpoints.subsets:
        ports = tuple(Port(port.name, port.protocol or "TCP", port.port, port.app_protocol) for port in subset.ports)
        told = [*((entry, True) for entry in subset.addresses), *((entry, False) for entry in subset.not_ready_addresses)]
        for entry, ready in told[:limit]:
            wanted[family_of(entry.ip), ports].setdefault(entry.ip, _endpoint(entry, ready))
    return {group: [told[ip] for ip in sorted(told, key=ipaddress.ip_address)] for group, told in wanted.items()}


def _endpoint(entry: core.EndpointAddress, ready: bool) -> discovery.Endpoint:
    endpoint = discovery.Endpoint(addresses=[entry.ip])
    endpoint.conditions.ready = ready
    if entry.hostname:
        endpoint.hostname = entry.hostname
    if entry.node_name:
        endpoint.node_name = entry.node_name
    if entry.HasField("target_ref"):
        endpoint.target_ref.CopyFrom(entry.target_ref)
    return endpoint


def _group(found: discovery.EndpointSlice) -> _Group:
    return found.address_type, tuple(Port(port.name, port.protocol, port.port, port.app_protocol) for port in found.ports)


def _slice(
    endpoints: core.Endpoints, group: _Group, told: Sequence[discovery.Endpoint], found: discovery.EndpointSlice | None
) -> discovery.EndpointSlice:
    """A copy of ``found`` with everything as it should be, or a new one."""
    family, ports = group
    made = discovery.EndpointSlice(address_type=family)
    if found is not None:
        made.metadata.CopyFrom(found.metadata)
    else:
        made.metadata.namespace = endpoints.metadata.namespace
        made.metadata.generate_name = f"{endpoints.metadata.name}-"
        made.metadata.name = generated(made.metadata.generate_name)
    made.endpoints.extend(told)
    for port in ports:
        entry = made.ports.add(name=port.name, protocol=port.protocol, port=port.number)
        if port.app_protocol:
            entry.app_protocol = port.app_protocol
    _dress(endpoints, made)
    return made


def _dress(endpoints: core.Endpoints, made: discovery.EndpointSlice) -> None:
    labels, annotations = endpoints.metadata.labels, endpoints.metadata.annotations
    made.metadata.labels.clear()
    made.metadata.labels.update({key: value for key, value in labels.items() if key not in _NOT_COPIED_LABELS})
    made.metadata.labels.update({SERVICE_NAME: endpoints.metadata.name, SLICE_MANAGED_BY: MANAGER})
    made.metadata.annotations.clear()
    made.metadata.annotations.update({key: value for key, value in annotations.items() if key not in _NOT_COPIED_ANNOTATIONS})
    if not any(ref.uid == endpoints.metadata.uid for ref in made.metadata.owner_references):
        del made.metadata.owner_references[:]
        made.metadata.owner_references.append(owner_reference(endpoints))

"""Endpoints: the same facts as EndpointSlices in the older form, one object a Service."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from services.controller.endpoints.backends import Backend, Port, families, hostname_of, is_headless, target_reference
from services.controller.endpoints.labels import ENDPOINTS_MANAGED_BY, ENDPOINTS_MANAGER, HEADLESS

OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MAX_ADDRESSES = 1000


def decide(service: core.Service, backends: Iterable[Backend], found: core.Endpoints | None) -> core.Endpoints:
    """The object as it shall be; equal to ``found`` when nothing is to be written."""
    wanted = core.Endpoints() if found is None else copy_of(found)
    wanted.metadata.name, wanted.metadata.namespace = service.metadata.name, service.metadata.namespace
    wanted.metadata.labels.clear()
    wanted.metadata.labels.update({key: value for key, value in service.metadata.labels.items() if key != HEADLESS})
    wanted.metadata.labels[ENDPOINTS_MANAGED_BY] = ENDPOINTS_MANAGER
    if is_headless(service):
        wanted.metadata.labels[HEADLESS] = ""
    subsets, truncated = _subsets(service, backends)
    wanted.metadata.annotations.pop(OVER_CAPACITY, None)
    if truncated:
        wanted.metadata.annotations[OVER_CAPACITY] = "truncated"
    del wanted.subsets[:]
    wanted.subsets.extend(subsets)
    return wanted


def _subsets(service: core.Service, backends: Iterable[Backend]) -> tuple[list[core.EndpointSubset], bool]:
    """One subset for each set of ports, addresses sorted; at most MAX_ADDRESSES, ready ones first."""
    publish = service.spec.publish_not_ready_addresses
    family = families(service)[0]
    listed = [
        (backend.serving or publish, address, backend)
        for backend in backends
        if (address := backend.addresses.get(family)) and (publish or not backend.terminating) and (backend.ports or not service.spec.ports)
    ]
    listed.sort(key=lambda entry: (not entry[0], _number(entry[1])))
    by_ports: defaultdict[tuple[Port, ...], core.EndpointSubset] = defaultdict(core.EndpointSubset)
    for ready, address, backend in listed[:MAX_ADDRESSES]:
        subset = by_ports[backend.ports]
        (subset.addresses if ready else subset.not_ready_addresses).append(_address(service, backend, address))
    for ports, subset in by_ports.items():
        for port in ports:
            written = subset.ports.add(name=port.name, port=port.number, protocol=port.protocol)
            if port.app_protocol:
                written.app_protocol = port.app_protocol
    return [by_ports[ports] for ports in sorted(by_ports, key=repr)], len(listed) > MAX_ADDRESSES


def _address(service: core.Service, backend: Backend, address: str) -> core.EndpointAddress:
    made: core.EndpointAddress | None = backend.told.get(address)
    if made is None:
        made = backend.told[address] = core.EndpointAddress(ip=address, target_ref=target_reference(backend.pod))
        if backend.pod.spec.node_name:
            made.node_name = backend.pod.spec.node_name
        made.hostname = hostname_of(service, backend.pod)
    return made


@lru_cache(maxsize=1 << 16)
def _number(address: str) -> int:
    return int(ipaddress.ip_address(address))

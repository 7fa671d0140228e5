"""EndpointSlice: from a Service's pods and its slices to the slices to write.

An endpoint stays in the slice where it is; new ones go first where something changes anyway, then
where there is room, then into new slices. So one pod's change rewrites one slice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.objects.copies import copy_of
from knarr.objects.labels import SERVICE_NAME, SLICE_MANAGED_BY
from knarr.objects.names import generated
from knarr.objects.owners import owner_reference
from services.controller.endpoints.backends import Backend, Port, families, hostname_of, is_headless, target_reference
from services.controller.endpoints.labels import HEADLESS
from services.controller.endpoints.slices import Plan
from services.controller.endpoints.trigger_time import stamp

MANAGER = "endpointslice-controller.k8s.io"
MAX_ENDPOINTS = 100
PREFER_SAME_NODE = "PreferSameNode"
# Labels of a Service that mean something else on its slices.
_NOT_COPIED = frozenset({SERVICE_NAME, SLICE_MANAGED_BY, HEADLESS})

# What all endpoints of one slice share: the address family and the ports.
_Group = tuple[str, tuple[Port, ...]]


def decide(
    service: core.Service,
    backends: Iterable[Backend],
    slices: Sequence[discovery.EndpointSlice],
    limit: int = MAX_ENDPOINTS,
    trigger: str = "",
) -> Plan:
    """``slices`` are the managed ones of this Service; at most ``limit`` endpoints go into one.

    ``trigger`` is the time of the change, for the annotation of what is written.
    """
    wanted = _wanted(service, backends)
    drafts = [_Draft(found, copy_of(found)) for found in sorted(slices, key=lambda found: str(found.metadata.name))]
    by_group: defaultdict[_Group, list[_Draft]] = defaultdict(list)
    for draft in drafts:
        by_group[draft.group].append(draft)
    for group in dict.fromkeys([*wanted, *by_group]):
        by_group[group] += _place(service, group, dict(wanted.get(group, {})), by_group[group], limit)
    made = [draft for group in by_group.values() for draft in group]
    _keep_one(service, made)
    for draft in made:
        _dress(service, draft.new)
    create = [draft.new for draft in made if draft.found is None and not draft.empty]
    update = [draft.new for draft in made if draft.found is not None and not draft.empty and draft.new != draft.found]
    for written in (*create, *update):
        stamp(written, trigger)
    return Plan(create, update, [draft.found for draft in made if draft.found is not None and draft.empty])


class _Draft:
    """A slice as it shall be. ``keep`` spares an empty one."""

    def __init__(self, found: discovery.EndpointSlice | None, new: discovery.EndpointSlice) -> None:
        """``new`` is the draft's own."""
        self.found = found
        self.new = new
        self.keep = False
        self.changed = False

    @property
    def group(self) -> _Group:
        ports = (Port(port.name, port.protocol, port.port, port.app_protocol) for port in self.new.ports)
        return self.new.address_type, tuple(ports)

    @property
    def empty(self) -> bool:
        return not self.new.endpoints and not self.keep


def _wanted(service: core.Service, backends: Iterable[Backend]) -> dict[_Group, dict[str, discovery.Endpoint]]:
    """Endpoints by pod uid, by group."""
    wanted: defaultdict[_Group, dict[str, discovery.Endpoint]] = defaultdict(dict)
    asked = families(service)
    spec = service.spec
    wishes = spec.publish_not_ready_addresses, spec.traffic_distribution
    for backend in backends:
        for family in asked:
            address = backend.addresses.get(family)
            if address:
                wanted[family, backend.ports][backend.uid] = _endpoint(service, backend, address, wishes)
    return wanted


def _endpoint(service: core.Service, backend: Backend, address: str, wishes: tuple[bool, str]) -> discovery.Endpoint:
    """``wishes`` are what of the Service an endpoint depends on; made once for them."""
    made: discovery.Endpoint | None = backend.told.get((address, wishes))
    if made is None:
        made = backend.told[address, wishes] = _new_endpoint(service, backend, address)
    return made


def _new_endpoint(service: core.Service, backend: Backend, address: str) -> discovery.Endpoint:
    publish = service.spec.publish_not_ready_addresses
    endpoint = discovery.Endpoint(addresses=[address], target_ref=target_reference(backend.pod))
    endpoint.conditions.ready = publish or (backend.serving and not backend.terminating)
    endpoint.conditions.serving = backend.serving
    endpoint.conditions.terminating = backend.terminating
    if backend.pod.spec.node_name:
        endpoint.node_name = backend.pod.spec.node_name
    hostname = hostname_of(service, backend.pod)
    if hostname:
        endpoint.hostname = hostname
    if backend.zone:
        endpoint.zone = backend.zone
    if endpoint.conditions.ready and service.spec.traffic_distribution:
        _give_hints(endpoint, service.spec.traffic_distribution)
    return endpoint


def _give_hints(endpoint: discovery.Endpoint, distribution: str) -> None:
    """Each distribution prefers the zone, one the node before it."""
    if endpoint.zone:
        endpoint.hints.for_zones.add(name=endpoint.zone)
    if endpoint.node_name and distribution == PREFER_SAME_NODE:
        endpoint.hints.for_nodes.add(name=endpoint.node_name)


def _place(
    service: core.Service, group: _Group, wanted: dict[str, discovery.Endpoint], drafts: Sequence[_Draft], limit: int
) -> list[_Draft]:
    """Changes ``drafts`` so that they hold ``wanted``; answers the drafts that had to be added."""
    for draft in drafts:
        kept = [fresh for old in draft.new.endpoints if (fresh := wanted.pop(old.target_ref.uid, None)) is not None]
        if kept != list(draft.new.endpoints):
            draft.changed = True
            del draft.new.endpoints[:]
            draft.new.endpoints.extend(kept)
    left = list(wanted.values())
    for draft in sorted(drafts, key=lambda draft: (not draft.changed, -len(draft.new.endpoints))):
        room = limit - len(draft.new.endpoints)
        draft.new.endpoints.extend(left[:room])
        left = left[max(room, 0) :]
    return [_added(service, group, left[start : start + limit]) for start in range(0, len(left), limit)]


def _added(service: core.Service, group: _Group, endpoints: Sequence[discovery.Endpoint]) -> _Draft:
    family, ports = group
    new = discovery.EndpointSlice(address_type=family, endpoints=endpoints)
    new.metadata.namespace = service.metadata.namespace
    new.metadata.generate_name = f"{service.metadata.name}-"
    new.metadata.name = generated(new.metadata.generate_name)
    for port in ports:
        entry = new.ports.add(name=port.name, protocol=port.protocol, port=port.number)
        if port.app_protocol:
            entry.app_protocol = port.app_protocol
    return _Draft(None, new)


def _keep_one(service: core.Service, drafts: list[_Draft]) -> None:
    """A Service without endpoints has one empty slice a family, so that others see it was looked at."""
    for family in families(service):
        mine = [draft for draft in drafts if draft.new.address_type == family]
        if any(draft.new.endpoints for draft in mine):
            continue
        if not mine:
            mine = [_added(service, (family, ()), [])]
            drafts += mine
        mine[0].keep = True


def _dress(service: core.Service, new: discovery.EndpointSlice) -> None:
    """Labels and owner. Labels that the Service lost go, too."""
    labels = {key: value for key, value in service.metadata.labels.items() if key not in _NOT_COPIED}
    labels |= {SERVICE_NAME: service.metadata.name, SLICE_MANAGED_BY: MANAGER}
    if is_headless(service):
        labels[HEADLESS] = ""
    new.metadata.labels.clear()
    new.metadata.labels.update(labels)
    if not any(ref.uid == service.metadata.uid for ref in new.metadata.owner_references):
        new.metadata.owner_references.append(owner_reference(service))

"""Which endpoints a Service's port leads to, as Kubernetes chooses them: the ready ones, and of those the ones that hints keep for this
node or its zone; where none is ready, those that still serve while they terminate. Once for the whole cluster, once for this node alone.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.objects.endpoints import takes_connections
from services.proxy.routing.table import Endpoint

PROTOCOLS = {"": "tcp", "TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where connections come from: this node, and its zone; empty where they are not known."""

    node: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """``everywhere`` and ``here`` are in the order of their addresses; ``ready_here`` are addresses."""

    everywhere: tuple[Endpoint, ...]
    here: tuple[Endpoint, ...]
    ready_here: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    endpoint: Endpoint
    ready: bool
    local: bool
    # For which nodes and zones it is meant; none: for all.
    nodes: tuple[str, ...]
    zones: tuple[str, ...]


def choose(slices: Sequence[discovery.EndpointSlice], port_name: str, protocol: str, place: Place) -> Choice:
    """The endpoints for a port; none are of this node where its name is not known. What is local needs no hints."""
    candidates = list(_candidates(slices, port_name, protocol, place.node))
    ready = [candidate for candidate in candidates if candidate.ready]
    here = [candidate for candidate in candidates if candidate.local]
    ready_here = [candidate for candidate in ready if candidate.local]
    return Choice(
        _endpoints(_near(ready, place) or candidates),
        _endpoints(ready_here or here),
        tuple(sorted({found.endpoint.address for found in ready_here})),
    )


def _near(ready: Sequence[_Candidate], place: Place) -> Sequence[_Candidate]:
    """Those that are meant for this node, else for its zone; all, unless each says for whom it is meant and one is for this place."""
    for hinted, own in (([one.nodes for one in ready], place.node), ([one.zones for one in ready], place.zone)):
        near = [one for one, names in zip(ready, hinted, strict=True) if own in names]
        if near and all(hinted):
            return near
    return ready


def _endpoints(candidates: Sequence[_Candidate]) -> tuple[Endpoint, ...]:
    found: dict[tuple[str, int], Endpoint] = {}
    for candidate in candidates:
        endpoint = candidate.endpoint
        place = (endpoint.address, endpoint.port)
        found[place] = max(found.get(place, endpoint), endpoint)
    return tuple(sorted(found.values()))


def _candidates(slices: Iterable[discovery.EndpointSlice], port_name: str, protocol: str, node_name: str) -> Iterable[_Candidate]:
    """Those that are ready, or terminate and still serve."""
    for piece in slices:
        if piece.address_type not in ("", "IPv4"):
            continue
        numbers = [port.port for port in piece.ports if port.name == port_name and PROTOCOLS.get(port.protocol) == protocol and port.port]
        for endpoint in piece.endpoints if numbers else ():
            ready = takes_connections(endpoint)
            if not (ready or _serves_while_terminating(endpoint)) or not endpoint.addresses:
                continue
            address, target = endpoint.addresses[0], endpoint.target_ref
            if not is_ipv4(address):
                continue
            pod = target.name if target.kind == "Pod" else ""
            local = bool(node_name) and endpoint.node_name == node_name
            nodes, zones = (tuple(hint.name for hint in hints) for hints in (endpoint.hints.for_nodes, endpoint.hints.for_zones))
            for number in numbers:
                yield _Candidate(Endpoint(address, number, pod), ready, local, nodes, zones)


def _serves_while_terminating(endpoint: discovery.Endpoint) -> bool:
    return bool(endpoint.conditions.serving) and bool(endpoint.conditions.terminating)


def is_ipv4(text: str) -> bool:
    """Whether it is an IPv4 address in its usual form."""
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, UnicodeEncodeError):
        return False
    return True

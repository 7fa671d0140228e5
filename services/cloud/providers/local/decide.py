"""Which address a Service gets, and which node answers for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.objects.endpoints import takes_connections
from knarr.objects.keys import key_of
from services.cloud.errors import Refused
from services.cloud.providers.local.pool import Pool

ADDRESS_ANNOTATION = "knarr.io/load-balancer-ip"
NODE_ANNOTATION = "knarr.io/load-balancer-node"


def address_of(service: core.Service) -> IPv4Address | None:
    """The address that its status tells of."""
    for entry in service.status.load_balancer.ingress:
        try:
            return IPv4Address(entry.ip)
        except AddressValueError:
            continue
    return None


def is_elder(one: core.Service, other: core.Service) -> bool:
    """Whether the first keeps an address that both have come to hold."""
    ages = [(found.metadata.creation_timestamp.seconds, found.metadata.uid) for found in (one, other)]
    return ages[0] < ages[1]


def holders(services: Iterable[core.Service]) -> dict[IPv4Address, core.Service]:
    """Who holds which address; the eldest, where several do."""
    found: dict[IPv4Address, core.Service] = {}
    for service in services:
        address = address_of(service)
        if address is not None and (address not in found or is_elder(service, found[address])):
            found[address] = service
    return found


def choose_address(
    service: core.Service,
    current: IPv4Address | None,
    taken: Mapping[IPv4Address, core.Service],
    pool: Pool,
    resting: Sequence[IPv4Address] = (),
) -> IPv4Address:
    """The Service's address: the one it asks for, the one it has, or a free one.

    ``taken`` are those of others. Raises Refused in words for the user.
    """
    wanted, field = _requested(service)
    if wanted is None:
        if current is not None and current in pool and current not in taken:
            return current
        found = pool.free(taken, resting)
        if found is None:
            raise Refused(
                f"every address of the pool {pool} is given ({len(pool)} in all): delete a Service of type LoadBalancer "
                "that is not needed, or give the cloud controller manager a larger pool (local.pool)"
            )
        return found
    if wanted not in pool:
        raise Refused(f"{field}: {wanted} is not in the pool {pool}: choose an address of it, or leave the choice out")
    if wanted in taken:
        raise Refused(
            f"{field}: {wanted} is taken by the Service {key_of(taken[wanted])}: choose another address, or wait until it is free"
        )
    return wanted


def choose_node(candidates: Collection[str], current: str, addresses: Mapping[str, int], with_endpoints: Collection[str] | None) -> str:
    """The node that answers for an address; empty when there is none.

    ``candidates`` may carry traffic, ``addresses`` counts what each answers for already. With ``with_endpoints`` (the Service's traffic
    stays on the node that it enters by) one of those is taken, if there is one. The current one stays as long as it may.
    """
    fit = [name for name in candidates if with_endpoints is None or name in with_endpoints] or list(candidates)
    if not fit or current in fit:
        return current
    return min(fit, key=lambda name: (addresses.get(name, 0), name))


def nodes_with_endpoints(slices: Iterable[discovery.EndpointSlice]) -> set[str]:
    """Nodes with an endpoint that takes new connections."""
    return {
        endpoint.node_name
        for piece in slices
        for endpoint in piece.endpoints
        if endpoint.HasField("node_name") and takes_connections(endpoint)
    }


def stays_on_node(service: core.Service) -> bool:
    return bool(service.spec.external_traffic_policy == "Local")


def _requested(service: core.Service) -> tuple[IPv4Address | None, str]:
    """The address that the user asks for and where; Refused when that is no address."""
    places = {
        f"the annotation {ADDRESS_ANNOTATION}": service.metadata.annotations.get(ADDRESS_ANNOTATION, ""),
        "spec.loadBalancerIP": service.spec.load_balancer_ip,
    }
    given = {place: text for place, text in places.items() if text}
    if not given:
        return None, ""
    place, text = next(iter(given.items()))
    if len(set(given.values())) > 1:
        raise Refused(f"{' and '.join(given)} ask for different addresses: give one of them")
    try:
        return IPv4Address(text), place
    except AddressValueError:
        raise Refused(f"{place}: {text!r} is no IPv4 address") from None

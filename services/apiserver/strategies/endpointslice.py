"""The strategy of EndpointSlices."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from functools import lru_cache

from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Format,
    Path,
    check_choice,
    check_format,
    check_immutable,
    check_port_number,
    dns1123_label,
    dns1123_subdomain,
    duplicate,
    invalid,
    ip_address,
    label_value,
    qualified_name,
    required,
    too_many,
)
from services.apiserver.strategies.addresses import address_warnings, validate_endpoint_ip
from services.apiserver.strategies.metadata import validate_labels
from services.apiserver.strategies.service.ports import PROTOCOLS
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_ENDPOINTS = 1000
MAX_ADDRESSES = 100
MAX_PORTS = 20_000
MAX_TOPOLOGY_LABELS = 16
MAX_HINTS = 8
SHOWN = 3  # addresses or ports before a table says how many more there are
UNSET = "<unset>"


class EndpointSliceStrategy(Strategy):
    """A content change makes a new generation."""

    columns = columns("Name", "AddressType", "Ports", "Endpoints", "Age")

    def default(self, obj: discovery.EndpointSlice) -> None:
        for port in obj.ports:
            if not port.HasField("name"):
                port.name = ""
            if not port.HasField("protocol"):
                port.protocol = "TCP"

    def prepare_for_create(self, obj: discovery.EndpointSlice) -> None:
        obj.metadata.generation = 1
        _drop_topology(obj)

    def prepare_for_update(self, new: discovery.EndpointSlice, old: discovery.EndpointSlice) -> None:
        if new.endpoints != old.endpoints:
            _drop_topology(new)
        same = new.endpoints == old.endpoints and new.ports == old.ports and new.metadata.labels == old.metadata.labels
        new.metadata.generation = old.metadata.generation + (not same)

    def validate(self, obj: discovery.EndpointSlice) -> list[Cause]:
        causes = check_choice(Path("addressType"), obj.address_type, ADDRESS_TYPES)
        if len(obj.endpoints) > MAX_ENDPOINTS:
            return [*causes, too_many(Path("endpoints"), len(obj.endpoints), MAX_ENDPOINTS)]
        for index, endpoint in enumerate(obj.endpoints):
            causes += _endpoint(endpoint, obj.address_type, Path("endpoints").index(index))
        return causes + _ports(obj)

    def validate_update(self, new: discovery.EndpointSlice, old: discovery.EndpointSlice) -> list[Cause]:
        return check_immutable(Path("addressType"), new.address_type, old.address_type)

    def warnings(self, obj: discovery.EndpointSlice) -> list[str]:
        if obj.address_type == "FQDN":
            return [f"{Path('addressType')}: FQDN endpoints are deprecated"]
        return [
            warning
            for index, endpoint in enumerate(obj.endpoints)
            for position, address in enumerate(endpoint.addresses)
            for warning in address_warnings(address, Path("endpoints").index(index).child("addresses").index(position))
        ]

    def cells(self, obj: discovery.EndpointSlice, now: datetime) -> list[object]:
        addresses = [address for endpoint in obj.endpoints for address in endpoint.addresses]
        return [obj.metadata.name, obj.address_type, _ports_text(obj), _shortened(addresses) or UNSET, age(obj, now)]


def _drop_topology(slice_: discovery.EndpointSlice) -> None:
    """The v1 API keeps what an older one stored, but takes no more of it."""
    for endpoint in slice_.endpoints:
        endpoint.deprecated_topology.clear()


def _ports_text(slice_: discovery.EndpointSlice) -> str:
    """Port numbers, else names; ``<unset>`` when the slice has none."""
    texts = [(str(port.port) if port.port else "*") if port.HasField("port") else port.name or "*" for port in slice_.ports]
    return _shortened(texts) or UNSET


def _shortened(texts: list[str]) -> str:
    more = len(texts) - SHOWN
    return ",".join(texts[:SHOWN]) + (f" + {more} more..." if more > 0 else "")


def _endpoint(endpoint: discovery.Endpoint, address_type: str, path: Path) -> list[Cause]:
    here, causes = path.child("addresses"), list[Cause]()
    if not endpoint.addresses:
        causes.append(required(here, "must contain at least 1 address"))
    elif len(endpoint.addresses) > MAX_ADDRESSES:
        causes.append(too_many(here, len(endpoint.addresses), MAX_ADDRESSES))
    for index, address in enumerate(endpoint.addresses):
        causes += _address(address, address_type, here.index(index))
    if endpoint.HasField("node_name"):
        causes += check_format(path.child("nodeName"), endpoint.node_name, dns1123_subdomain)
    causes += _topology(endpoint, path.child("deprecatedTopology"))
    if endpoint.HasField("hostname"):
        causes += check_format(path.child("hostname"), endpoint.hostname, dns1123_label)
    hints, below = endpoint.hints, path.child("hints")
    causes += _hints([zone.name for zone in hints.for_zones], label_value, below.child("forZones"))
    return causes + _hints([node.name for node in hints.for_nodes], dns1123_subdomain, below.child("forNodes"))


def _address(address: str, address_type: str, path: Path) -> list[Cause]:
    """An unknown type is refused where it stands; its addresses are not looked at."""
    if address_type == "FQDN":
        return _domain(address, path)
    if address_type not in ("IPv4", "IPv6"):
        return []
    if not _is_of_family(address, address_type):
        return check_format(path, address, ip_address) or [invalid(path, address, f"must be a valid {address_type} address")]
    return validate_endpoint_ip(address, path)


def _domain(name: str, path: Path) -> list[Cause]:
    if not name:
        return [required(path)]
    causes = check_format(path, name.removesuffix("."), dns1123_subdomain)
    if not causes and "." not in name.removesuffix("."):
        causes.append(invalid(path, name, "should be a domain with at least two segments separated by dots"))
    return causes


def _topology(endpoint: discovery.Endpoint, path: Path) -> list[Cause]:
    topology = endpoint.deprecated_topology
    causes = [too_many(path, len(topology), MAX_TOPOLOGY_LABELS)] if len(topology) > MAX_TOPOLOGY_LABELS else []
    return causes + validate_labels(topology, path)


def _hints(hinted: list[str], format_: Format, path: Path) -> list[Cause]:
    if len(hinted) > MAX_HINTS:
        return [too_many(path, len(hinted), MAX_HINTS)]
    causes: list[Cause] = []
    names: set[str] = set()
    for index, name in enumerate(hinted):
        here = path.index(index).child("name")
        if name in names:
            causes.append(duplicate(here, name))
        names.add(name)
        causes += check_format(here, name, format_)
    return causes


@lru_cache(maxsize=1 << 16)
def _is_of_family(address: str, address_type: str) -> bool:
    try:
        return f"IPv{ipaddress.ip_address(address).version}" == address_type
    except ValueError:
        return False


def _ports(slice_: discovery.EndpointSlice) -> list[Cause]:
    if len(slice_.ports) > MAX_PORTS:
        return [too_many(Path("ports"), len(slice_.ports), MAX_PORTS)]
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(slice_.ports):
        here = Path("ports").index(index)
        if port.name:
            causes += check_format(here.child("name"), port.name, dns1123_label)
        if port.name in names:
            causes.append(duplicate(here.child("name"), port.name))
        names.add(port.name)
        if port.HasField("port"):
            causes += check_port_number(here.child("port"), port.port)
        causes += check_choice(here.child("protocol"), port.protocol, PROTOCOLS)
        if port.HasField("app_protocol"):
            causes += check_format(here.child("appProtocol"), port.app_protocol, qualified_name)
    return causes

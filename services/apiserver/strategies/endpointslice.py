"""The strategy of EndpointSlices."""

from __future__ import annotations

from datetime import datetime

from knarr.api.discovery.v1 import discovery_pb2 as discovery
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

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

    def prepare_for_update(self, new: discovery.EndpointSlice, old: discovery.EndpointSlice) -> None:
        same = new.endpoints == old.endpoints and new.ports == old.ports and new.metadata.labels == old.metadata.labels
        new.metadata.generation = old.metadata.generation + (not same)

    def cells(self, obj: discovery.EndpointSlice, now: datetime) -> list[object]:
        addresses = [address for endpoint in obj.endpoints for address in endpoint.addresses]
        return [obj.metadata.name, obj.address_type, _ports_text(obj), _shortened(addresses) or UNSET, age(obj, now)]


def _ports_text(slice_: discovery.EndpointSlice) -> str:
    """Port numbers, else names; ``<unset>`` when the slice has none."""
    texts = [(str(port.port) if port.port else "*") if port.HasField("port") else port.name or "*" for port in slice_.ports]
    return _shortened(texts) or UNSET


def _shortened(texts: list[str]) -> str:
    more = len(texts) - SHOWN
    return ",".join(texts[:SHOWN]) + (f" + {more} more..." if more > 0 else "")

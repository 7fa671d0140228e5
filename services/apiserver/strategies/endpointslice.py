"""The strategy of EndpointSlices."""

from __future__ import annotations

from knarr.api.discovery.v1 import discovery_pb2 as discovery
from services.apiserver.strategies.strategy import Strategy


class EndpointSliceStrategy(Strategy):
    """A content change makes a new generation."""

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

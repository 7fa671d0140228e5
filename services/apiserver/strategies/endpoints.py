"""The strategy of Endpoints."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.strategy import Strategy


class EndpointsStrategy(Strategy):
    """Ports are TCP unless they say otherwise."""

    def default(self, obj: core.Endpoints) -> None:
        for subset in obj.subsets:
            for port in subset.ports:
                port.protocol = port.protocol or "TCP"

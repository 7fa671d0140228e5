"""The strategy of Endpoints."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, age, columns

SHOWN = 3  # addresses before a table says how many more there are


class EndpointsStrategy(Strategy):
    """Ports are TCP unless they say otherwise."""

    columns = columns("Name", "Endpoints", "Age")

    def default(self, obj: core.Endpoints) -> None:
        for subset in obj.subsets:
            for port in subset.ports:
                port.protocol = port.protocol or "TCP"

    def cells(self, obj: core.Endpoints, now: datetime) -> list[object]:
        return [obj.metadata.name, _addresses_text(obj), age(obj, now)]


def _addresses_text(endpoints: core.Endpoints) -> str:
    """The first ready addresses with their ports: ``10.0.0.1:80,10.0.0.2:80 + 2 more...``."""
    texts: list[str] = []
    for subset in endpoints.subsets:
        if not subset.ports:
            texts += [address.ip for address in subset.addresses]
        for port in subset.ports:
            texts += [f"{address.ip}:{port.port}" for address in subset.addresses]
    more = len(texts) - SHOWN
    return ",".join(texts[:SHOWN]) + (f" + {more} more..." if more > 0 else "") or NONE

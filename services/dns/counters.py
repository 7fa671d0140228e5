"""What an instance counts. Plain numbers on the way of a query; the metrics take them over now and then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """What an instance has counted since it started."""

    # Queries by transport.
    udp: int = 0
    tcp: int = 0
    # Answers from the table of ready ones.
    ready_hits: int = 0
    # Answers that were made, by code; ready ones are counted above.
    made: Counter[str] = field(default_factory=Counter)
    # Datagrams and connections that got no answer: no queries, or too many.
    dropped: int = 0

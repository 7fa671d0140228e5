"""The DNS's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from services.dns.counters import Counters

QUERIES = Counter("knarr_dns_queries", "Queries, by transport.", ["transport"])
ANSWERS = Counter("knarr_dns_answers", "Answers that were made, by code.", ["code"])
READY_HITS = Counter("knarr_dns_ready_hits", "Answers that were ready.")
DROPPED = Counter("knarr_dns_dropped", "Datagrams and connections that got no answer.")
NAMES = Gauge("knarr_dns_names", "Names of the cluster with records.")
API_REACHABLE = Gauge("knarr_dns_api_reachable", "Whether the API server can be reached: 1 or 0.")
CHANGE_SECONDS = Histogram(
    "knarr_dns_change_seconds", "Time to take a change of the cluster's names.", buckets=(0.0001, 0.001, 0.01, 0.1, 1)
)
UPSTREAM_SECONDS = Histogram(
    "knarr_dns_upstream_seconds", "Time to an upstream's answer, by result.", ["result"], buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1.5, 4.5)
)


class Publisher:
    """Takes the counters over: on the way of a query a plain number is all there is time for."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._told: dict[object, int] = {}

    def publish(self) -> None:
        counters = self._counters
        for transport in ("udp", "tcp"):
            QUERIES.labels(transport).inc(self._news(transport, getattr(counters, transport)))
        for code, number in counters.made.items():
            ANSWERS.labels(code).inc(self._news(("code", code), number))
        READY_HITS.inc(self._news("ready", counters.ready_hits))
        DROPPED.inc(self._news("dropped", counters.dropped))

    def _news(self, what: object, number: int) -> int:
        before = self._told.get(what, 0)
        self._told[what] = number
        return number - before

"""What the REST face counts, and /metrics."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, generate_latest

from knarr.service.tally import Counts, Timings
from services.apiserver.rest.response import Response

_REQUESTS = Counts("knarr_apiserver_rest_requests_total", "Answered requests.", ("verb", "resource", "code"))
_SECONDS = Timings(
    "knarr_apiserver_rest_request_seconds",
    "Time to answer a request, long-running ones left out.",
    ("verb",),
    (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
STREAMS = Gauge("knarr_apiserver_rest_streams", "Open watches, logs and execs.", ("kind",))

request_counter = lru_cache(maxsize=4096)(_REQUESTS.of)
request_seconds = lru_cache(maxsize=64)(_SECONDS.of)


def forget(plural: str) -> None:
    """Drops what was counted of a resource that is served no more."""
    _REQUESTS.forget("resource", plural)
    request_counter.cache_clear()


def metrics_response() -> Response:
    return Response(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)

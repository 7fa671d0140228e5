"""Prometheus metrics of the API server."""

from __future__ import annotations

from functools import cache

from prometheus_client import Gauge

from knarr.service.tally import Count, Counts, Timing, Timings

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counts("knarr_apiserver_requests_total", "Requests by verb, resource and HTTP code", ["verb", "resource", "code"])
REQUEST_SECONDS = Timings("knarr_apiserver_request_seconds", "Time of a request without a face", ["verb", "resource"], _FAST)
STORE_SECONDS = Timings("knarr_apiserver_etcd_seconds", "Time of a call to etcd", ["operation"], _FAST)
STORE_TRANSPORT = Gauge("knarr_apiserver_etcd_transport_info", "1 for the way by which etcd is spoken to", ["transport"])
STORE_CONNECTED = Gauge("knarr_apiserver_etcd_watch_connected", "1 while the watch on etcd stands")
WATCHERS = Gauge("knarr_apiserver_watchers", "Open watches", ["resource"])
CACHED_OBJECTS = Gauge("knarr_apiserver_cached_objects", "Objects in the watch cache", ["resource"])
CACHED_BYTES = Gauge("knarr_apiserver_cached_bytes", "Serialized bytes of the objects in the watch cache", ["resource"])
CACHE_REVISION = Gauge("knarr_apiserver_cache_revision", "The revision that the watch cache has reached")


@cache
def request_counter(verb: str, resource: str, code: str) -> Count:
    """The labelled counter, looked up once: finding a label's child costs more than counting."""
    return REQUESTS.of(verb, resource, code)


@cache
def request_timer(verb: str, resource: str) -> Timing:
    return REQUEST_SECONDS.of(verb, resource)


@cache
def store_timer(operation: str) -> Timing:
    return STORE_SECONDS.of(operation)


def forget(plural: str, qualified: str) -> None:
    """Drops what was counted of a resource that is served no more: who defines and removes resources would fill the memory with it."""
    REQUESTS.forget("resource", plural)
    REQUEST_SECONDS.forget("resource", plural)
    for gauge in (WATCHERS, CACHED_OBJECTS, CACHED_BYTES):
        gauge.remove_by_labels({"resource": qualified})
    request_counter.cache_clear()
    request_timer.cache_clear()

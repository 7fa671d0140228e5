"""The gateway's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ROUTES = Gauge("knarr_gateway_routes", "Routes in force, on all ports.")
CHANGES = Counter("knarr_gateway_changes", "Changes put in force, by how: runtime or reload; refused are those that were not.", ["how"])
CHANGE_SECONDS = Histogram(
    "knarr_gateway_change_seconds",
    "Time from the first of several changes until they were in force.",
    buckets=(0.01, 0.03, 0.1, 0.2, 0.5, 1, 3, 10),
)
RESTARTS = Counter("knarr_gateway_proxy_restarts", "How often the proxy's process died and was started again.")

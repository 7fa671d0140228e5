"""The proxy's metrics."""

from prometheus_client import Counter, Gauge, Histogram

CHANGES = Counter("knarr_proxy_changes", "Changes put in force, by result.", ["result"])
CHANGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
CHANGE_SECONDS = Histogram(
    "knarr_proxy_change_seconds", "Time from the first event of a change until it is in force.", buckets=CHANGE_BUCKETS
)
POLICY_CHANGES = Counter("knarr_proxy_policy_changes", "Changes of NetworkPolicies put in force, by result.", ["result"])
POLICY_CHANGE_SECONDS = Histogram(
    "knarr_proxy_policy_change_seconds",
    "Time from the first event of a change of policies or pods until it is in force.",
    buckets=CHANGE_BUCKETS,
)
POLICIES = Gauge("knarr_proxy_policies", "NetworkPolicies known.")
ROUTES = Gauge("knarr_proxy_routes", "Routes in force.")
ENDPOINTS = Gauge("knarr_proxy_endpoints", "Endpoints in force.")
REFUSED = Counter(
    "knarr_proxy_refused_connections",
    "Connections that the userspace datapath turned away: limit (too many are open), no-local-port, no-descriptor.",
    ["reason"],
)

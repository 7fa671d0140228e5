"""What an instance of the cluster DNS must be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """What one instance is told."""

    # IPv4 address that DNS is served on. Answers must come from it, so it cannot be a wildcard.
    address: str
    # UDP and TCP port of DNS; 0 lets the system choose.
    port: int = 10053
    # The address that is registered as an endpoint: pods reach `address` by it; empty: by itself.
    advertise_address: str = ""
    # The zone of the cluster, without a dot at the end.
    domain: str = "cluster.local"
    # Address of the Service kube-dns; empty: no Service is kept and the instance does not register itself.
    cluster_ip: str = ""
    # Ranges whose reverse names are the cluster's, CIDR: those of Services and of pods.
    service_cidr: str = "10.96.0.0/16"
    pod_cidr: str = "10.244.0.0/16"
    # Names this instance among others and in the time after a restart; empty: made of address and port.
    instance: str = ""
    # The node it runs on, for its endpoint; empty: none.
    node_name: str = ""
    # Whether `1-2-3-4.NAMESPACE.pod.DOMAIN` is answered in namespaces that exist.
    pod_names: bool = True
    # Time to live of the cluster's records and of negative answers, seconds.
    ttl_seconds: int = 5
    # Servers for all other names, `IP` or `IP:PORT`; empty: those of `resolv_conf`.
    upstreams: tuple[str, ...] = ()
    resolv_conf: Path = Path("/etc/resolv.conf")
    # One try of one upstream, and all tries together, seconds.
    upstream_try_seconds: float = 1.5
    upstream_limit_seconds: float = 4.5
    # Most queries that wait for upstreams at once; more are answered SERVFAIL.
    upstream_concurrency: int = 1000
    # Most answers of upstreams that are kept, and for how long at most, seconds: positive and negative ones.
    cache_entries: int = 10_000
    cache_limit_seconds: int = 3600
    cache_negative_seconds: int = 300
    # How long an answer that has expired may still be given while no upstream answers, seconds; 0: not at all.
    serve_stale_seconds: int = 3600
    # Most TCP connections at once, and how long one may be idle, seconds.
    tcp_connections: int = 200
    tcp_idle_seconds: float = 10.0
    # Most bytes of an answer over UDP, whatever the client can take.
    udp_payload_bytes: int = 1232
    # How often this instance says that it lives, and after how much silence others take its endpoint away, seconds: soon enough that
    # the second try of a resolver, after five seconds, finds one that lives.
    renew_seconds: float = 0.8
    lease_seconds: float = 3.0
    # How long a stopping instance still answers after it has taken its endpoint away, seconds.
    drain_seconds: float = 1.0

    @property
    def name(self) -> str:
        """The name of this instance."""
        return self.instance or f"{self.address.replace('.', '-').replace(':', '-')}-{self.port}"

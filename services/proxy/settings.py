"""What a proxy must be told about its node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """One node's proxy."""

    # `nftables` or `userspace`.
    datapath: str = "nftables"
    # Keeps what several proxies of one machine program apart: part of the nftables table's name; empty for one proxy.
    instance: str = ""
    # Where Services get their addresses, CIDR.
    service_cidr: str = "10.96.0.0/16"
    # Where pods of all nodes get their addresses, CIDR.
    pod_cidr: str = "10.244.0.0/16"
    # Where load balancers get their addresses from a pool of the cluster's own, CIDR; empty: there is no such pool.
    load_balancer_cidr: str = ""
    # The bridge of this node's pods, a network interface's name; it need not be there at the start.
    pod_bridge: str = "knarr0"
    # Longest life of a connection to an endpoint that was removed, seconds (userspace; the kernel keeps them until they close).
    drain_seconds: float = 30.0
    # Longest wait at a planned stop for open connections to end, seconds (userspace; the kernel's go on without us).
    stop_seconds: float = 5.0
    # How long a UDP flow may be quiet until it is forgotten, seconds (userspace).
    udp_idle_seconds: float = 30.0
    # Connections and flows carried at a time (userspace); 0: as many as the process has descriptors for.
    max_connections: int = 0
    # How often the datapath is looked after (tables flushed by others, routes, bridge ports), seconds.
    check_seconds: float = 2.0
    # How pods of other nodes are reached: `off` (there is one node, or something else sees to it), `routes` (all nodes are on one network),
    # `vxlan`, or `auto`: routes to the nodes on this node's network, VXLAN to all others.
    pod_network: str = "off"
    # Networks beside this node's own whose nodes are reached by routes, too: a range, and the next hop; an empty one is each node itself.
    next_hops: tuple[tuple[str, str], ...] = ()
    # Name of this node's Node object; needed unless `pod_network` is `off`. Without it no endpoint counts as this node's, so that traffic
    # policies `Local` cannot be kept, and no load-balancer address is held here.
    node_name: str = ""
    # The VXLAN's device name, network identifier (24 bits) and UDP port; the last two must be the same on all nodes.
    vxlan_device: str = "knarr-vx"
    vxlan_id: int = 75
    vxlan_port: int = 8472
    # Whether NetworkPolicies are enforced. Needs NET_ADMIN and nftables, with either datapath; where they are missing, the proxy says so.
    network_policies: bool = False
    # First and longest wait before a change that failed is applied again, seconds.
    retry_first_seconds: float = 0.05
    retry_limit_seconds: float = 5.0

    @property
    def ranges(self) -> tuple[str, ...]:
        """Addresses that must never leave the machine unless a rule or a route says where to."""
        return tuple(cidr for cidr in (self.service_cidr, self.pod_cidr, self.load_balancer_cidr) if cidr)

    @property
    def table(self) -> str:
        """Name of our nftables table."""
        return f"knarr-{self.instance}" if self.instance else "knarr"

    @property
    def policy_table(self) -> str:
        """Name of the NetworkPolicies' nftables table."""
        return f"knarr-policy-{self.instance}" if self.instance else "knarr-policy"

    @property
    def pod_table(self) -> str:
        """Name of the pod network's nftables table."""
        return f"knarr-pods-{self.instance}" if self.instance else "knarr-pods"

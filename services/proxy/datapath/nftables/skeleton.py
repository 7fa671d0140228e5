"""The part of our table that does not depend on routes: its hooks, and the order in which a packet asks its maps.

Packets that need our node as their source are marked, as Kubernetes does: those to a ClusterIP that come from outside the pods' range,
and those to an external address whose Service may send them to another node. Those of a pod that reaches itself are known by their
addresses. All else keeps its source: connections from pod to pod, and from outside to a Service whose external policy is ``Local``.
"""

from __future__ import annotations

from dataclasses import dataclass

MARK = 0x4000
LOCALNET_NOTE = "route-localnet-was-off"
# Before other tables' destination NAT, so that theirs cannot take our addresses.
PRIORITY_DESTINATION = -105
# Before other tables' source NAT.
PRIORITY_SOURCE = 95
# Before connection tracking.
PRIORITY_RAW = -305


@dataclass(frozen=True, slots=True)
class Base:
    """What the ruleset of a node depends on besides its routes. ``masquerade_bridge``: replies between pods of
    the bridge would pass us by, so their connections through a Service need our address. ``localnet_was_off``: leaves a
    note in the table for whoever removes it that ``route_localnet`` is to be switched off again."""

    table: str
    service_cidr: str
    pod_cidr: str
    pod_bridge: str
    masquerade_bridge: bool = False
    localnet_was_off: bool = False


def skeleton(base: Base) -> str:
    """Commands that replace whatever the table held by one without routes."""
    bridge = f'    iifname "{base.pod_bridge}" oifname "{base.pod_bridge}" ct status dnat masquerade\n' if base.masquerade_bridge else ""
    note = f"  counter {LOCALNET_NOTE} {{ }}\n" if base.localnet_was_off else ""
    return f"""table ip {base.table} {{}}
delete table ip {base.table}
table ip {base.table} {{
{note}  map cluster-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map node-ports {{ type inet_proto . inet_service : verdict; }}
  map external-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map host-ports {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map inside-host-ports {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map inside-node-ports {{ type inet_proto . inet_service : verdict; }}
  map inside-external-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map firewalls {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map shares {{ typeof numgen inc mod 2 : verdict; }}
  set hairpins {{ type ipv4_addr . ipv4_addr; }}
  set held-addresses {{ type ipv4_addr; }}
  chain mark-for-masquerade {{ meta mark set meta mark or {MARK:#x}; }}
  chain mark-unless-pod {{ ip saddr != {base.pod_cidr} jump mark-for-masquerade; }}
  chain discard {{ drop; }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain services {{
    ip daddr {base.service_cidr} ip saddr != {base.pod_cidr} jump mark-for-masquerade
    ip daddr . meta l4proto . th dport vmap @cluster-ips
    ip daddr . meta l4proto . th dport vmap @firewalls
    ip saddr {base.pod_cidr} jump inside
    ip saddr != {base.pod_cidr} fib saddr type local jump inside
    ip daddr . meta l4proto . th dport vmap @external-ips
    fib daddr type local ip daddr . meta l4proto . th dport vmap @host-ports
    fib daddr type local meta l4proto . th dport vmap @node-ports
    ip daddr @held-addresses meta l4proto {{ tcp, udp }} goto refuse
  }}
  chain inside {{
    ip daddr . meta l4proto . th dport vmap @inside-external-ips
    fib daddr type local ip daddr . meta l4proto . th dport vmap @inside-host-ports
    fib daddr type local meta l4proto . th dport vmap @inside-node-ports
  }}
  chain prerouting {{
    type nat hook prerouting priority {PRIORITY_DESTINATION}; policy accept;
    jump services
  }}
  chain output {{
    type nat hook output priority {PRIORITY_DESTINATION}; policy accept;
    jump services
  }}
  chain postrouting {{
    type nat hook postrouting priority {PRIORITY_SOURCE}; policy accept;
    meta mark and {MARK:#x} == {MARK:#x} ct status dnat meta mark set meta mark xor {MARK:#x} masquerade
    ct status dnat ip saddr . ip daddr @hairpins masquerade
{bridge}  }}
  chain loopback-guard {{
    type filter hook prerouting priority {PRIORITY_RAW}; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }}
}}
"""

"""The ruleset in nft's language: the whole table as one transaction, and each step as commands.

Packets are judged where they are forwarded, which is after Services' destination NAT and before any source NAT: by whom they come from and
where they really go. Bridged packets between this node's pods come by as well (see ``bridging``). What the node itself sends to its pods,
and they to it, is not forwarded, and so always allowed. Replies pass; each packet of the one who began is judged anew, so that a connection
ends when it is no longer allowed. Leaving is judged before arriving: rights ``return``, so that both are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address

from services.proxy.policy.facts import HIGHEST_PORT, INGRESS, BlockPeer
from services.proxy.policy.model import (
    DNS,
    KNOWN,
    MAPS,
    SELVES,
    UNKNOWN,
    ChainEntry,
    Drop,
    ElementEntry,
    Entries,
    Match,
    Rights,
    SetEntry,
    Step,
    everything,
    set_name,
)

# Before other tables' filters.
PRIORITY = -10
ELEMENTS_PER_COMMAND = 500


def skeleton(table: str, bridge: str) -> str:
    """Commands that replace whatever the table held by one that allows all."""
    return f"""table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  set {KNOWN} {{ type ipv4_addr; }}
  set {SELVES} {{ type ipv4_addr . ipv4_addr; }}
  set {DNS} {{ type ipv4_addr; }}
  map {MAPS["ingress"]} {{ type ipv4_addr : verdict; }}
  map {MAPS["egress"]} {{ type ipv4_addr : verdict; }}
  chain {UNKNOWN} {{ }}
  chain leaving {{
    ip saddr != @{KNOWN} jump {UNKNOWN}
    ip saddr vmap @{MAPS["egress"]}
  }}
  chain arriving {{
    ip daddr != @{KNOWN} jump {UNKNOWN}
    ip daddr vmap @{MAPS["ingress"]}
  }}
  chain forward {{
    type filter hook forward priority {PRIORITY}; policy accept;
    ct state established,related ct direction reply accept
    ct state related accept
    ip saddr . ip daddr @{SELVES} accept
    iifname "{bridge}" jump leaving
    oifname "{bridge}" jump arriving
  }}
}}
"""


def shut_ipv6(table: str, bridge: str) -> str:
    """Commands that forward no IPv6 to or from pods: they are given IPv4 addresses only, and what they make up is no way around."""
    return f"""table ip6 {table} {{}}
delete table ip6 {table}
table ip6 {table} {{
  chain forward {{
    type filter hook forward priority {PRIORITY}; policy accept;
    iifname "{bridge}" drop
    oifname "{bridge}" drop
  }}
}}
"""


def whole(table: str, bridge: str, entries: Entries) -> str:
    """One transaction that replaces whatever the table held by these entries, without a gap."""
    found: list[str] = [skeleton(table, bridge)]
    elements: dict[str, list[str]] = defaultdict(list)
    for step in everything(entries):
        if isinstance(step.entry, ElementEntry):
            elements[step.entry.set].append(_element(step))
        elif step.entry != ChainEntry(UNKNOWN):
            found.append(as_text(table, step))
    unknown = entries.get(ChainEntry(UNKNOWN))
    if isinstance(unknown, Drop) and unknown.closed:
        found.append(f"add rule ip {table} {UNKNOWN} drop\n")
    for name, members in elements.items():
        for start in range(0, len(members), ELEMENTS_PER_COMMAND):
            found.append(f"add element ip {table} {name} {{ {', '.join(members[start : start + ELEMENTS_PER_COMMAND])} }}\n")
    return "".join(found)


def as_text(table: str, step: Step) -> str:
    """One step as commands."""
    lines = {SetEntry: _set, ChainEntry: _chain, ElementEntry: _element_command}[type(step.entry)](table, step)
    return "".join(f"{line}\n" for line in lines)


def _set(table: str, step: Step) -> list[str]:
    assert isinstance(step.entry, SetEntry)
    where = f"set ip {table} {step.entry.name}"
    if step.verb == "remove":
        return [f"delete {where}"]
    if not isinstance(step.value, BlockPeer):
        return [f"add {where} {{ type ipv4_addr; }}"]
    if not step.value.ranges:
        return [f"add {where} {{ type ipv4_addr; flags interval; }}"]
    ranges = ", ".join(_range(low, high) for low, high in step.value.ranges)
    return [f"add {where} {{ type ipv4_addr; flags interval; elements = {{ {ranges} }}; }}"]


def _range(low: int, high: int) -> str:
    return str(IPv4Address(low)) if low == high else f"{IPv4Address(low)}-{IPv4Address(high)}"


def _chain(table: str, step: Step) -> list[str]:
    assert isinstance(step.entry, ChainEntry)
    where = f"ip {table} {step.entry.name}"
    if step.verb == "remove":
        return [f"flush chain {where}", f"delete chain {where}"]
    head = f"flush chain {where}" if step.verb == "refill" else f"add chain {where}"
    return [head, *(f"add rule {where} {rule}" for rule in rules(step.value))]


def rules(value: object) -> Iterable[str]:
    """A chain's rules."""
    if isinstance(value, Drop):
        return ["drop"] if value.closed else []
    assert isinstance(value, Rights)
    return [*(_rule(value.direction, match) for match in value.matches), "drop"]


def _rule(direction: str, match: Match) -> str:
    parts: list[str] = []
    if match.peers is not None:
        parts.append(f"ip {'saddr' if direction == INGRESS else 'daddr'} @{set_name(match.peers)}")
    if match.protocol:
        parts.append(f"meta l4proto {match.protocol}")
    if match.dns:
        parts.append(f"ct original ip daddr @{DNS}")
    if match.protocol and (match.low, match.high) != (1, HIGHEST_PORT):
        ports = str(match.low) if match.low == match.high else f"{match.low}-{match.high}"
        parts.append(f"{'ct original proto-dst' if match.dns else 'th dport'} {ports}")
    return " ".join([*parts, "return"])


def _element_command(table: str, step: Step) -> list[str]:
    assert isinstance(step.entry, ElementEntry)
    verb = "delete" if step.verb == "remove" else "add"
    return [f"{verb} element ip {table} {step.entry.set} {{ {_element(step)} }}"]


def _element(step: Step) -> str:
    assert isinstance(step.entry, ElementEntry)
    key = " . ".join(step.entry.key)
    return f"{key} : jump {step.value}" if step.value and step.verb != "remove" else key

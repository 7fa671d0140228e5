"""What a transaction consists of: the few kinds of changes our table knows. Plain values, written as text or as netlink messages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AddMap:
    """A map from slots to destinations, each with a counter."""

    name: str


@dataclass(frozen=True, slots=True)
class AddStickySet:
    """A set of clients' addresses that forgets each so many seconds after it was last put in."""

    name: str
    seconds: int


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """Removes a set that no rule asks."""

    name: str


@dataclass(frozen=True, slots=True)
class AddChain:
    chain: str


@dataclass(frozen=True, slots=True)
class FlushChain:
    """Takes all rules of a chain away."""

    chain: str


@dataclass(frozen=True, slots=True)
class DeleteChain:
    """Removes a chain without rules that nothing leads to."""

    chain: str


@dataclass(frozen=True, slots=True)
class AddDeal:
    """A rule that deals connections out in turn to the destinations at ``offset`` … ``offset + turns - 1`` of a map."""

    chain: str
    protocol: str
    turns: int
    offset: int
    map: str


@dataclass(frozen=True, slots=True)
class AddReturn:
    """A rule that leads the clients in a sticky set to a chain."""

    chain: str
    set: str
    target: str


@dataclass(frozen=True, slots=True)
class AddRemember:
    """A rule that puts the client into a sticky set, and begins its time anew."""

    chain: str
    set: str


@dataclass(frozen=True, slots=True)
class AddShares:
    """A rule that leads in turn to the chains at ``offset`` … ``offset + turns - 1`` of the map of shares."""

    chain: str
    turns: int
    offset: int


@dataclass(frozen=True, slots=True)
class AddVerdict:
    """A rule that leads to another chain and, but for ``goto``, back; or, with ``return`` and no target, back to the chain before.
    ``source``: only packets from this range, an IPv4 CIDR."""

    chain: str
    verdict: str
    target: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a slot of a map leads: an IPv4 address and a port, and how many connections are counted there already."""

    address: str
    port: int
    packets: int = 0


@dataclass(frozen=True, slots=True)
class Lead:
    """Where an element leads: ``jump`` or ``goto`` a chain."""

    verdict: str
    chain: str


@dataclass(frozen=True, slots=True)
class AddElement:
    """An element of a set (no ``data``) or map. The parts of a key: IPv4 addresses, protocols' names, ports; a lone number is one in the
    maps of destinations."""

    set: str
    key: tuple[str | int, ...]
    data: Destination | Lead | None = None


@dataclass(frozen=True, slots=True)
class DeleteElement:
    set: str
    key: tuple[str | int, ...]


Rule = AddDeal | AddReturn | AddRemember | AddShares | AddVerdict
Operation = AddMap | AddStickySet | DeleteSet | AddChain | FlushChain | DeleteChain | Rule | AddElement | DeleteElement

SHARES = "shares"
STICKY_CLIENTS = 65536


def as_text(table: str, operation: Operation) -> str:
    """The operation in the nft language."""
    match operation:
        case AddMap(name):
            return f"add map ip {table} {name} {{ typeof numgen inc mod 2 : ip daddr . th dport; counter; }}"
        case AddStickySet(name, seconds):
            kind = f"type ipv4_addr; flags dynamic,timeout; timeout {seconds}s; size {STICKY_CLIENTS};"
            return f"add set ip {table} {name} {{ {kind} }}"
        case DeleteSet(name):
            return f"delete set ip {table} {name}"
        case AddChain(chain):
            return f"add chain ip {table} {chain}"
        case FlushChain(chain):
            return f"flush chain ip {table} {chain}"
        case DeleteChain(chain):
            return f"delete chain ip {table} {chain}"
        case AddDeal(chain, protocol, turns, offset, name):
            deal = f"numgen inc mod {turns} offset {offset} map @{name}"
            return f"add rule ip {table} {chain} meta l4proto {protocol} dnat ip to {deal}"
        case AddReturn(chain, name, target):
            return f"add rule ip {table} {chain} ip saddr @{name} goto {target}"
        case AddRemember(chain, name):
            return f"add rule ip {table} {chain} update @{name} {{ ip saddr }}"
        case AddShares(chain, turns, offset):
            return f"add rule ip {table} {chain} numgen inc mod {turns} offset {offset} vmap @{SHARES}"
        case AddVerdict(chain, verdict, target, source):
            return f"add rule ip {table} {chain} {f'ip saddr {source} ' if source else ''}{verdict} {target}".rstrip()
        case AddElement(name, key, data):
            return f"add element ip {table} {name} {{ {_element(key, data)} }}"
        case DeleteElement(name, key):
            return f"delete element ip {table} {name} {{ {_element(key, None)} }}"


def _element(key: tuple[str | int, ...], data: Destination | Lead | None) -> str:
    text = " . ".join(map(str, key))
    if isinstance(data, Destination):
        counted = f" counter packets {data.packets} bytes 0" if data.packets else ""
        return f"{text}{counted} : {data.address} . {data.port}"
    return f"{text} : {data.verdict} {data.chain}" if data else text

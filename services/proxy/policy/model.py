"""The ruleset that the policies ask for, as plain entries, and the steps from what is in force to it. Without I/O.

Entries are sets (of addresses, named after whom they hold), chains (what a pod may do; pods with the same rights share one) and elements
of sets and maps. Only entries that were touched are compared, so a change costs what it changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from services.proxy.policy.facts import BlockPeer, Peer, PodPeer

# Sets and maps that are always there. KNOWN: this node's pods whose rights are in force; SELVES: pairs of a pod's address with itself;
# DNS: addresses of the cluster's DNS Service; the maps lead from a pod's address to the chain of its rights.
KNOWN, SELVES, DNS = "known", "selves", "dns"
MAPS = {"ingress": "ingress", "egress": "egress"}
# Where packets of addresses that are not known go: nowhere, once there are policies.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class NamedPort:
    """The peers that are pods (None: all pods) and call this number of a protocol by the name."""

    peer: Peer | None
    name: str
    protocol: str
    number: int

    def __str__(self) -> str:
        return f"{self.peer or 'all pods'} whose {self.protocol} port {self.name} is {self.number}"


Members = PodPeer | NamedPort | BlockPeer


@lru_cache(maxsize=65536)
def set_name(members: Members) -> str:
    """A set's name: the same for the same members, on every node and after every start."""
    kind = "blocks" if isinstance(members, BlockPeer) else "pods"
    return f"{kind}-{hashlib.sha256(str(members).encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Match:
    """One thing that is allowed. ``peers`` None: whoever it is; ``protocol`` empty: whatever it carries. ``dns``: the peer is the
    cluster's DNS, and the ports are those that the client named."""

    peers: Members | None = None
    protocol: str = ""
    low: int = 0
    high: int = 0
    dns: bool = False

    @property
    def order(self) -> tuple[bool, str, str, int, int]:
        return self.dns, set_name(self.peers) if self.peers is not None else "", self.protocol, self.low, self.high


@dataclass(frozen=True, slots=True)
class Rights:
    """All that a pod is allowed in one direction; what is not among it is dropped."""

    direction: str
    matches: tuple[Match, ...]

    @property
    def chain(self) -> str:
        text = f"{self.direction} {[match.order for match in self.matches]}"
        return f"{self.direction}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Drop:
    """Rules of the chain for unknown addresses; ``closed``: they are dropped."""

    closed: bool = False


@dataclass(frozen=True, slots=True)
class SetEntry:
    name: str


@dataclass(frozen=True, slots=True)
class ChainEntry:
    name: str


@dataclass(frozen=True, slots=True)
class ElementEntry:
    """``key``: the addresses of the element's key."""

    set: str
    key: tuple[str, ...]


Entry = SetEntry | ChainEntry | ElementEntry
# What an entry is: of a set its members, of a chain its rules, of an element the chain it leads to, which only those of maps do.
Value = Members | Rights | Drop | str
Entries = Mapping[Entry, Value]
# What entries are to be; None: they are to go.
Changes = Mapping[Entry, Value | None]


@dataclass(frozen=True, slots=True)
class Step:
    """``put`` makes an entry what it is to be; ``remove`` takes it away; ``refill`` gives a chain other rules."""

    verb: str
    entry: Entry
    value: Value


def shut_off(value: Value) -> Value:
    """What stands for rights or an address block that the kernel refuses: no rights, and nobody."""
    if isinstance(value, Rights):
        return Rights(value.direction, ())
    return BlockPeer(()) if isinstance(value, BlockPeer) else value


def always_there() -> dict[Entry, Value]:
    return {ChainEntry(UNKNOWN): Drop()}


def steps(before: Entries, changes: Changes) -> list[Step]:
    """One transaction's steps, in an order in which nothing refers to what is not there."""
    come: dict[type, list[Step]] = {SetEntry: [], ChainEntry: [], ElementEntry: []}
    gone: dict[type, list[Step]] = {SetEntry: [], ChainEntry: [], ElementEntry: []}
    for entry, new in changes.items():
        old = before.get(entry)
        if old == new:
            continue
        kind = type(entry)
        if new is not None and old is not None and kind is ChainEntry:
            come[kind].append(Step("refill", entry, new))
            continue
        if old is not None:
            gone[kind].append(Step("remove", entry, old))
        if new is not None:
            come[kind].append(Step("put", entry, new))
    # The elements of a set that goes, go with it.
    doomed = {step.entry.name for step in gone[SetEntry] if isinstance(step.entry, SetEntry)}
    elements = [step for step in gone[ElementEntry] if _set_of(step) not in doomed]
    filled = [*sorted(elements, key=_set_of), *sorted(come[ElementEntry], key=_set_of)]
    return [*come[SetEntry], *come[ChainEntry], *filled, *gone[ChainEntry], *gone[SetEntry]]


def _set_of(step: Step) -> str:
    return step.entry.set if isinstance(step.entry, ElementEntry) else ""


def everything(entries: Entries) -> Iterator[Step]:
    """The steps from a bare table."""
    yield from steps({}, entries)


def patch(entries: dict[Entry, Value], changes: Changes) -> None:
    for entry, value in changes.items():
        if value is None:
            entries.pop(entry, None)
        else:
            entries[entry] = value

"""How a chain deals connections out, as it has to stand in the table; and the steps from one such state to another. Pure.

Without affinity it is one rule, which takes the next slot. With affinity each endpoint has a chain and a set of the clients that were
there: the rules first look a client up in each of the sets, and lead it on in turn only if it is in none. So a connection costs a look for
each endpoint, and when an endpoint goes only its own clients get another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.proxy.datapath.nftables.layout import Entry, Pool
from services.proxy.datapath.nftables.operations import (
    SHARES,
    AddChain,
    AddDeal,
    AddElement,
    AddRemember,
    AddReturn,
    AddShares,
    AddStickySet,
    AddVerdict,
    DeleteChain,
    DeleteElement,
    DeleteSet,
    FlushChain,
    Lead,
    Operation,
    Rule,
)


@dataclass(frozen=True, slots=True)
class Dealing:
    """Chains with their rules, sets of clients with how long they remember, and which turn leads to which chain."""

    chains: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    sets: dict[str, int] = field(default_factory=dict)
    shares: dict[Entry, Lead] = field(default_factory=dict)


NOTHING = Dealing()


def dealing(pool: Pool, places: Sequence[tuple[str, int]], offset: int, name: str) -> Dealing:
    """How a chain deals out to destinations that stand at ``offset`` and after it in the map of that name."""
    if not places:
        return Dealing({pool.chain: (AddVerdict(pool.chain, "goto", pool.otherwise),)})
    turns = len(places)
    if not pool.affinity_seconds:
        return Dealing({pool.chain: (AddDeal(pool.chain, pool.protocol, turns, offset, name),)})
    found = Dealing()
    returns: list[Rule] = []
    for slot, (address, port) in enumerate(places, offset):
        digest = hashlib.sha256(f"{pool.chain} {address} {port} {pool.affinity_seconds}".encode()).hexdigest()[:12]
        chain, clients = f"endpoint-{digest}-{address}/{port}", f"clients-{digest}"
        found.sets[clients] = pool.affinity_seconds
        found.chains[chain] = (AddRemember(chain, clients), AddDeal(chain, pool.protocol, 1, slot, name))
        found.shares[SHARES, (slot,)] = Lead("goto", chain)
        returns.append(AddReturn(pool.chain, clients, chain))
    found.chains[pool.chain] = (*returns, AddShares(pool.chain, turns, offset))
    return found


def steps(before: Dealing, after: Dealing) -> list[Operation]:
    """The operations from one state to another: what leads somewhere goes before it and comes after it."""
    found: list[Operation] = []
    found += [DeleteElement(*entry) for entry, lead in before.shares.items() if after.shares.get(entry) != lead]
    found += [AddStickySet(name, seconds) for name, seconds in after.sets.items() if name not in before.sets]
    changed = {chain: rules for chain, rules in after.chains.items() if before.chains.get(chain) != rules}
    gone = [chain for chain in before.chains if chain not in after.chains]
    found += [FlushChain(chain) for chain in (*gone, *(chain for chain in changed if chain in before.chains))]
    found += [AddChain(chain) for chain in changed if chain not in before.chains]
    for rules in changed.values():
        found += rules
    found += [DeleteChain(chain) for chain in gone]
    found += [DeleteSet(name) for name in before.sets if name not in after.sets]
    found += [AddElement(*entry, lead) for entry, lead in after.shares.items() if before.shares.get(entry) != lead]
    return found

"""The ruleset of our table: routes in, transactions out. Without I/O.

Maps lead from an address to one of a route's chains. Those that deal connections out have one rule, which takes the next of the chain's
slots; a map leads from each slot to a destination and counts. So a change of endpoints is a change of a few elements, and of one rule where
their number changes. What cannot be served is refused or dropped at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.proxy.datapath.nftables.dealing import NOTHING, dealing, steps
from services.proxy.datapath.nftables.layout import Pool, chains, entries, pools
from services.proxy.datapath.nftables.operations import (
    AddChain,
    AddElement,
    AddMap,
    DeleteChain,
    DeleteElement,
    FlushChain,
    Operation,
    as_text,
)
from services.proxy.datapath.nftables.skeleton import Base, skeleton
from services.proxy.datapath.nftables.slots import CountAt, Slots, recount
from services.proxy.routing.table import Change, Route


def full(base: Base, slots: Slots, routes: Iterable[Route]) -> str:
    """One transaction that replaces whatever the table held by these routes, without a gap. ``slots`` are new ones."""
    return skeleton(base) + as_commands(base, operations(slots, Change(added=tuple(routes)), lambda name, slot: 0))


def as_commands(base: Base, wanted: Iterable[Operation]) -> str:
    return "".join(f"{as_text(base.table, operation)}\n" for operation in wanted)


def operations(slots: Slots, change: Change, count_at: CountAt) -> list[Operation]:
    """One transaction whose cost follows the change. ``slots`` become those after it.

    What leads to a route goes first and comes last, so that an address may move between routes, and no chain is left or entered half made.
    """
    steps = [*((old, None) for old in change.removed), *change.updated, *((None, new) for new in change.added)]
    led = [(entries(old) if old else {}, entries(new) if new else {}) for old, new in steps]
    found: list[Operation] = []
    for before, after in led:
        found += [DeleteElement(*entry) for entry, lead in before.items() if after.get(entry) != lead]
    for old, new in steps:
        found += _put(slots, old, new, count_at)
    for before, after in led:
        found += [AddElement(*entry, lead) for entry, lead in after.items() if before.get(entry) != lead]
    return found


def _put(slots: Slots, old: Route | None, new: Route | None, count_at: CountAt) -> list[Operation]:
    """Makes a route's chains those of another state of it."""
    found: list[Operation] = []
    wanted = pools(new) if new else []
    for pool in wanted:
        found += _deal(slots, pool, count_at)
    there, after = chains(old) if old else {}, chains(new) if new else {}
    for chain, rules in after.items():
        if there.get(chain) != rules:
            found += [FlushChain(chain) if chain in there else AddChain(chain), *rules]
    gone = [chain for chain in there if chain not in after]
    found += [FlushChain(chain) for chain in gone]
    found += [DeleteChain(chain) for chain in gone]
    left = {pool.chain for pool in wanted}
    for pool in pools(old) if old else ():
        if pool.chain not in left:
            standing = slots.dismiss(pool.chain)
            found += steps(standing.dealing, NOTHING)
            found += slots.place(standing, (), count_at)
    held = (old.held_ips if old else (), new.held_ips if new else ())
    return found + recount(slots.held, "held-addresses", *held, lambda address: (address,))


def _deal(slots: Slots, pool: Pool, count_at: CountAt) -> list[Operation]:
    """Makes or changes a chain that deals connections out."""
    found: list[Operation] = []
    standing = slots.standings.get(pool.chain)
    if standing is None:
        standing = slots.admit(pool.chain)
        if standing.map not in slots.maps:
            slots.maps.add(standing.map)
            found.append(AddMap(standing.map))
    found += slots.place(standing, pool.endpoints, count_at)
    before, standing.dealing = standing.dealing, dealing(pool, standing.places, standing.offset, standing.map)
    return found + steps(before, standing.dealing)

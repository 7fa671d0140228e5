"""Where endpoints stand: each chain that deals connections out has a number, and with it a range of slots in a map, one for each turn.

A map is shared by a few of them: the kernel looks through the whole of it whenever a rule that uses it is made, and through the list of
all maps whenever one is looked for.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from services.proxy.datapath.nftables.dealing import NOTHING, Dealing
from services.proxy.datapath.nftables.operations import AddElement, DeleteElement, Destination, Operation
from services.proxy.routing.table import Endpoint

CHAINS_PER_MAP = 32
# Endpoints of a chain; 2**32 slots are there for all chains together.
SLOTS_PER_CHAIN = 8192

Place = tuple[str, int]
# Connections counted so far at a slot of a map.
CountAt = Callable[[str, int], int]


@dataclass(slots=True)
class Standing:
    """A chain that deals out to ``places``, in the order of their turns; ``dealing`` is what it is made of."""

    number: int
    chain: str
    places: list[Place] = field(default_factory=list)
    dealing: Dealing = NOTHING

    @property
    def map(self) -> str:
        return f"endpoints-{self.number // CHAINS_PER_MAP}"

    @property
    def offset(self) -> int:
        return self.number * SLOTS_PER_CHAIN


class Slots:
    """Numbers for chains, the lowest first, how many slots lead to each address, and how many routes hold each address."""

    def __init__(self) -> None:
        self.standings: dict[str, Standing] = {}
        self.maps: set[str] = set()
        self.uses: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self._free: list[int] = []

    def admit(self, chain: str) -> Standing:
        """Gives a new chain its number."""
        number = heapq.heappop(self._free) if self._free else len(self.standings)
        standing = self.standings[chain] = Standing(number, chain)
        return standing

    def dismiss(self, chain: str) -> Standing:
        """Takes the number of a chain that is gone back."""
        standing = self.standings.pop(chain)
        heapq.heappush(self._free, standing.number)
        return standing

    def place(self, standing: Standing, endpoints: Iterable[Endpoint], count_at: CountAt) -> list[Operation]:
        """Puts endpoints on a chain's slots. Whoever stays keeps their slot, but for those who fill the gaps at the end."""
        before = standing.places
        after = standing.places = _turns(before, places(endpoints))
        counts = {place: turn for turn, place in enumerate(before)}
        found: list[Operation] = []
        for turn in range(max(len(before), len(after))):
            had = before[turn] if turn < len(before) else None
            has = after[turn] if turn < len(after) else None
            if had == has:
                continue
            slot = standing.offset + turn
            if had is not None:
                found.append(DeleteElement(standing.map, (slot,)))
            if has is not None:
                packets = count_at(standing.map, standing.offset + counts[has]) if has in counts else 0
                found.append(AddElement(standing.map, (slot,), Destination(*has, packets)))
        addresses = ([address for address, _ in before], [address for address, _ in after])
        return found + recount(self.uses, "hairpins", *addresses, lambda address: (address, address))


def recount(
    uses: Counter[str], name: str, before: Iterable[str], after: Iterable[str], key: Callable[[str], tuple[str, ...]]
) -> list[Operation]:
    """Keeps a set of what is used at least once."""
    found: list[Operation] = []
    for one in after:
        uses[one] += 1
        if uses[one] == 1:
            found.append(AddElement(name, key(one)))
    for one in before:
        uses[one] -= 1
        if not uses[one]:
            del uses[one]
            found.append(DeleteElement(name, key(one)))
    return found


def places(endpoints: Iterable[Endpoint]) -> list[Place]:
    """Destinations, each once, as many as there is room for."""
    return list(dict.fromkeys((endpoint.address, endpoint.port) for endpoint in endpoints))[:SLOTS_PER_CHAIN]


def _turns(before: list[Place], wanted: list[Place]) -> list[Place]:
    remaining = set(wanted)
    stay = [place if place in remaining else None for place in before[: len(wanted)]]
    kept = set(stay)
    comers = iter([place for place in wanted if place not in kept])
    after = [place if place is not None else next(comers) for place in stay]
    return [*after, *comers]

"""All that keeps a pod off nodes, and what is the only hindrance on some: what would make it fit. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from knarr.objects.amounts import PODS, shown
from services.scheduler.nodes import Nodes
from services.scheduler.plugin import Lack, Plugin
from services.scheduler.pod_facts import PodFacts


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why one filter refuses a node; ``numbers`` are what it compared, where it can tell."""

    filter: str
    reasons: Sequence[str]
    numbers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Remedy:
    """A sentence on what the nodes lack, which have no other hindrance."""

    words: str
    nodes: Sequence[str]


class Hindrances:
    """Of one pod. Good for as long as the nodes do not change."""

    def __init__(self, nodes: Nodes, filters: Sequence[Plugin], pod: PodFacts) -> None:
        self._nodes, self._pod = nodes, pod
        self._by_row: dict[int, list[Plugin]] = {row: [] for row in np.flatnonzero(nodes.alive[: nodes.size]).tolist()}
        self._reasons: dict[tuple[str, int], list[str]] = {}
        excluding = {plugin.name: mask for plugin in filters if (mask := plugin.excluded(pod, nodes)) is not None}
        for plugin in filters:
            mask = plugin.filter(pod, nodes)
            rows = np.flatnonzero(nodes.alive[: nodes.size] & ~mask) if mask is not None else np.zeros(0, np.intp)
            for row, words in zip(rows.tolist(), plugin.all_reasons(pod, nodes, rows) if len(rows) else (), strict=True):
                first = plugin.name in excluding and excluding[plugin.name][row]
                self._by_row[row].insert(0 if first else len(self._by_row[row]), plugin)
                self._reasons[plugin.name, row] = words

    def of(self, name: str) -> Sequence[Hindrance]:
        """All of one node, in the order of the filters."""
        row = self._nodes.rows[name]
        return [
            Hindrance(plugin.name, self._reasons[plugin.name, row], plugin.details(self._pod, self._nodes, row))
            for plugin in self._by_row[row]
        ]

    def remedies(self) -> Sequence[Remedy]:
        """What would help, that which is known in numbers first, then by how many nodes it is about."""
        lacking = defaultdict[tuple[str, ...], list[tuple[int, Mapping[str, Lack]]]](list)
        named = defaultdict[str, list[int]](list)
        for row, plugins in self._by_row.items():
            lacks = plugins[0].lacks(self._pod, self._nodes, row) if len(plugins) == 1 else {}
            words = {plugin.hindrance(self._pod, self._nodes, row) for plugin in plugins}
            if PODS in lacks and not lacks[PODS].offered:
                # It takes no pods at all.
                continue
            if lacks:
                lacking[tuple(lacks)].append((row, lacks))
            elif len(words) == 1:
                named[words.pop()].append(row)
        told = [remedy for _, found in sorted(lacking.items(), key=lambda pair: len(pair[0])) for remedy in self._by_less(found)]
        others = [Remedy(f"{words} is the only hindrance on {_count(rows)}", self._names(rows)) for words, rows in named.items()]
        return [*told, *sorted(others, key=lambda remedy: -len(remedy.nodes))]

    def _by_less(self, found: Sequence[tuple[int, Mapping[str, Lack]]]) -> Iterator[Remedy]:
        """What would do for those that lack least, and for all."""
        ranked = sorted((({name: _missing(name, lack) for name, lack in lacks.items()}, row) for row, lacks in found), key=_in_order)
        least = ranked[0][0]
        most = {resource: max(missing[resource] for missing, _ in ranked) for resource in least}
        for amounts in (least, most) if least != most else (least,):
            rows = [row for missing, row in ranked if all(missing[resource] <= amount for resource, amount in amounts.items())]
            words = " and ".join(_less(resource, amount) for resource, amount in amounts.items())
            yield Remedy(f"{_count(rows)} would fit with {words}", self._names(rows))

    def _names(self, rows: Sequence[int]) -> Sequence[str]:
        return sorted(self._nodes.node(row).metadata.name for row in rows)


def _in_order(pair: tuple[Mapping[str, int], int]) -> tuple[Sequence[int], int]:
    return list(pair[0].values()), pair[1]


def _missing(resource: str, lack: Lack) -> int:
    """How much less would do; of pods it is others that are too many."""
    return lack.asked - lack.free if resource == PODS else lack.missing


def _count(rows: Sequence[int]) -> str:
    return f"{len(rows)} node{'' if len(rows) == 1 else 's'}"


def _less(resource: str, amount: int) -> str:
    return (
        f"{amount} pod{'' if amount == 1 else 's'} fewer on each"
        if resource == PODS
        else f"{shown(resource, amount, up=True)} less {resource}"
    )

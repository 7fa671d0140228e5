"""Which pods of lower priority are to go so that one of higher priority can come: on which node, and as few as will do.

As Kubernetes' scheduler judges it (its documentation of pod priority and preemption): those of the lowest priority, as few as possible,
those that a PodDisruptionBudget holds last. Pure: nothing is removed here.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.errors import Cause
from knarr.machinery.selectors import Selector
from knarr.machinery.validation import Path, invalid
from knarr.objects.disruptions import budget_selector
from knarr.objects.keys import Key, key_of
from services.scheduler.departures import Departures
from services.scheduler.filtering import lasting_by, refused_for_good
from services.scheduler.judgements import Judgements
from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.plugin import Plugin
from services.scheduler.pod_facts import PodFacts
from services.scheduler.view import View

NEVER = "Never"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
# What a priority may be at least (``-2147483648``): sums of priorities grow with each pod.
LOWEST = -(2**31)
# Seconds that no time of day reaches.
NOT_YET = 1e12
PREEMPTION = "preemption:"
BY_POLICY = f"{PREEMPTION} not eligible due to preemptionPolicy=Never."
NO_CANDIDATE = f"{PREEMPTION} no candidate node for preemption"
UNDER_WAY = f"{PREEMPTION} not eligible due to a terminating pod on the nominated node."


@dataclass(frozen=True, slots=True)
class DefaultPreemptionArgs:
    """So many nodes are looked at closely, or this part of all in percent, where that is more."""

    min_candidate_nodes_percentage: int = 10
    min_candidate_nodes_absolute: int = 100

    def problems(self, path: Path) -> Iterator[Cause]:
        percentage, absolute = path.child("minCandidateNodesPercentage"), path.child("minCandidateNodesAbsolute")
        if not 0 <= self.min_candidate_nodes_percentage <= 100:
            yield invalid(percentage, self.min_candidate_nodes_percentage, "not in valid range [0, 100]")
        if self.min_candidate_nodes_absolute < 0:
            yield invalid(absolute, self.min_candidate_nodes_absolute, "not in valid range [0, inf)")
        if self.min_candidate_nodes_percentage == self.min_candidate_nodes_absolute == 0:
            yield invalid(percentage, 0, "cannot be zero at the same time as minCandidateNodesAbsolute")
            yield invalid(absolute, 0, "cannot be zero at the same time as minCandidateNodesPercentage")

    def wanted(self, count: int) -> int:
        """How many of so many nodes are looked at."""
        return max(self.min_candidate_nodes_absolute, count * self.min_candidate_nodes_percentage // 100)


@dataclass(frozen=True)
class Preemption:
    """The pods that are to go from a node; ``violations``: how many of them a budget would have kept."""

    node: str
    victims: tuple[PodFacts, ...]
    violations: int

    @cached_property
    def order(self) -> tuple[int, int, int, int, float]:
        """The least is the best."""
        highest = max(victim.priority for victim in self.victims)
        begun = min(_begun(victim.pod) for victim in self.victims if victim.priority == highest)
        return self.violations, highest, sum(victim.priority - LOWEST for victim in self.victims), len(self.victims), -begun


# By what ways to make room are compared, as ``Preemption.order`` does.
_ORDER = (
    "breaks the fewest disruption budgets",
    "costs no pod of as high a priority as the others",
    "costs the lowest priorities altogether",
    "costs the fewest pods",
    "costs the pods that began last",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What could be done, on one node each; ``reasons``: for how many others which words say why not."""

    candidates: Sequence[Preemption]
    reasons: Mapping[str, int]

    @property
    def preemption(self) -> Preemption | None:
        """The best of them."""
        return min(self.candidates, key=lambda preemption: preemption.order, default=None)

    @property
    def why(self) -> str:
        """Why it is the best of them."""
        if len(self.candidates) < 2:
            return "it is the only node on which room can be made"
        first, second = sorted(one.order for one in self.candidates)[:2]
        told = next((words for words, mine, others in zip(_ORDER, first, second, strict=True) if mine != others), "is as good as any")
        return f"of {len(self.candidates)} nodes on which room can be made it {told}"

    def words(self, count: int) -> str:
        """What the event says after the reasons of the decision."""
        told = sorted(f"{number} {words}" for words, number in self.reasons.items())
        return f"{PREEMPTION} 0/{count} nodes are available: {', '.join(told)}."


@dataclass(frozen=True, slots=True)
class Search:
    """The search for room for one pod. ``reserved`` are pods of no lower priority that were promised a node, with its name."""

    table: NodeTable
    plugins: Sequence[Plugin]
    pod: PodFacts
    budgets: Sequence[policy.PodDisruptionBudget]
    reserved: Sequence[tuple[PodFacts, str]] = ()
    args: DefaultPreemptionArgs = DefaultPreemptionArgs()
    # Names of nodes that others refuse whoever leaves them.
    lasting: frozenset[str] = frozenset()
    # What searches before this one found out.
    known: Judgements[Preemption | str] | None = None

    def run(self, source: random.Random) -> Answer:
        """The ways to make room that were found. ``source`` says with which node the search begins."""
        rows = np.flatnonzero(self.table.alive[: self.table.size]).tolist()
        start = source.randrange(len(rows)) if rows else 0
        lasting = lasting_by(self.table, self.plugins, self.pod)
        hopeless = self._refused_whoever_goes(lasting)
        helpful = len(rows) - int(hopeless[rows].sum())
        if all(priority >= self.pod.priority for priority in self.table.priorities):
            told = {NOT_HELPFUL: len(rows) - helpful, NO_VICTIMS: helpful}
            return Answer((), {words: number for words, number in told.items() if number})
        wanted = self.args.wanted(helpful)
        found, reasons = list[Preemption](), Counter[str]()
        judge = self._judge(hopeless, lasting)
        refused = hopeless.tolist()
        for row in (*rows[start:], *rows[:start]):
            judged = NOT_HELPFUL if refused[row] else judge(row)
            if isinstance(judged, str):
                reasons[judged] += 1
                continue
            found.append(judged)
            # One that breaks no budget may still come.
            if len(found) >= wanted and any(not one.violations for one in found):
                break
        return Answer(found, reasons)

    def _judge(self, hopeless: Mask, lasting: Mapping[str, Mask]) -> Callable[[int], Preemption | str]:
        """Says of a row that is not hopeless who is to go, or why that would not do."""
        budgets = _by_namespace(self.budgets)
        departures = Departures(self.table, self.plugins, self.pod, self.reserved)
        known = self._known(departures, budgets)
        in_vain = self._in_vain(hopeless, lasting)
        # Only what follows from the pods of a node can be known.
        apart = {self.table.rows[name] for name in departures.reserved_on if name in self.table.rows} | in_vain.keys()

        def judge(row: int) -> Preemption | str:
            if row in apart:
                return self._on(row, departures, budgets, in_vain.get(row))
            judged = known.get(row)
            if judged is None:
                judged = known[row] = self._on(row, departures, budgets)
            return judged

        return judge

    def _in_vain(self, hopeless: Mask, lasting: Mapping[str, Mask]) -> Mapping[int, tuple[Plugin, Sequence[str]]]:
        """Of the other rows those that a plugin refuses whoever leaves them, after one that refuses them as they are: which, and why."""
        told: dict[int, tuple[Plugin, Sequence[str]]] = {}
        others = self.table.alive[: self.table.size] & ~hopeless
        for plugin in self.plugins:
            # Who has to do with other pods may say otherwise once some are gone: of pods that want to be together one may be the first.
            refused = None if plugin.across else lasting.get(plugin.name)
            if refused is None or not np.count_nonzero(refused & others):
                continue
            rows = np.flatnonzero(refused & others)
            for row, words in zip(rows.tolist(), plugin.all_reasons(self.pod, self.table, rows), strict=True):
                told.setdefault(row, (plugin, words))
        return told

    def _known(self, departures: Departures, budgets: _Budgets) -> dict[int, Preemption | str]:
        """By row what is known of nodes that nobody is promised."""
        if self.known is None or budgets or not departures.is_arithmetic:
            return {}
        key = (self.pod.asked_key, self.pod.priority, *map(id, departures.plugins))
        return self.known.of(self.table, key)

    def refused_whoever_goes(self) -> Mask:
        """The rows that are refused first by who would refuse them whichever pods left, or by others for good."""
        return self._refused_whoever_goes(lasting_by(self.table, self.plugins, self.pod))

    def _refused_whoever_goes(self, lasting: Mapping[str, Mask]) -> Mask:
        """The same where it is known what each refuses so."""
        nodes: Nodes = self.table
        # Who refuses first depends on the pods that were promised a node, too; what is refused for good does where a pod looks for others.
        looks = (plugin.across and not plugin.indifferent(self.pod, self.table) for plugin in self.plugins)
        if self.reserved and (lasting or any(looks)):
            nodes = View(self.table, self.reserved)
            lasting = lasting_by(nodes, self.plugins, self.pod)
        refused = refused_for_good(nodes, self.plugins, self.pod, lasting)
        refused[[self.table.rows[name] for name in self.lasting if name in self.table.rows]] = True
        return refused

    def lower(self, row: int) -> Sequence[PodFacts]:
        """The pods of a row that may have to go."""
        return [facts for facts in self.table.pods_on(row).values() if facts.priority < self.pod.priority]

    def _on(
        self, row: int, departures: Departures, budgets: _Budgets, in_vain: tuple[Plugin, Sequence[str]] | None = None
    ) -> Preemption | str:
        """Who is to go from one node, or why it would not do if all of lower priority went. ``in_vain``: who would refuse it then, too."""
        lower = self.lower(row)
        if not lower:
            return NO_VICTIMS
        with departures.emptied(row, lower) as node:
            refusal = node.refusal() if in_vain is None else node.refusal(in_vain[0]) or in_vain[1]
            if refusal is not None:
                return ", ".join(refusal) or NOT_HELPFUL
            leave = [(facts, violates) for facts, violates in _held_first(lower, budgets) if not node.has_room_for(facts)]
        if not leave:
            return NO_VICTIMS
        victims = tuple(facts for facts, _ in leave)
        return Preemption(self.table.node(row).metadata.name, victims, sum(violates for _, violates in leave))


_Budgets = Mapping[str, Sequence[tuple[policy.PodDisruptionBudget, Selector]]]


def _by_namespace(budgets: Iterable[policy.PodDisruptionBudget]) -> _Budgets:
    """Those that are about some pods, with what chooses them: each pod is held against all of its namespace."""
    found = defaultdict[str, list[tuple[policy.PodDisruptionBudget, Selector]]](list)
    for budget in budgets:
        selector = budget_selector(budget)
        if selector is not None:
            found[budget.metadata.namespace].append((budget, selector))
    return found


def _held_first(lower: Sequence[PodFacts], budgets: _Budgets) -> Iterator[tuple[PodFacts, bool]]:
    """In which order pods are kept if they can be, and whether a budget holds them: those first, then by priority and age."""
    ranked = sorted(lower, key=lambda facts: (-facts.priority, _begun(facts.pod)))
    left: dict[Key, int] = {}
    held = [(facts, _takes_too_much(facts, budgets.get(facts.key.namespace, ()), left)) for facts in ranked]
    return itertools.chain((pair for pair in held if pair[1]), (pair for pair in held if not pair[1]))


def _takes_too_much(pod: PodFacts, budgets: Iterable[tuple[policy.PodDisruptionBudget, Selector]], left: dict[Key, int]) -> bool:
    """Counts a pod against its budgets; whether one of them allows no more."""
    too_much = False
    for budget, selector in budgets:
        # Who is on its way out already was counted when it was evicted.
        if pod.key.name not in budget.status.disrupted_pods and selector.matches(pod.labels):
            key = key_of(budget)
            left[key] = left.get(key, budget.status.disruptions_allowed) - 1
            too_much |= left[key] < 0
    return too_much


def _begun(pod: core.Pod) -> float:
    """When a pod began; one that did not yet comes after all that did, and among those by when it was made."""
    has = pod.status.HasField("start_time")
    since = pod.status.start_time if has else pod.metadata.creation_timestamp
    return float(since.seconds) + since.nanos / 1e9 + (0.0 if has else NOT_YET)

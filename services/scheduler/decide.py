"""The pure heart: nodes (a table or a view of one) and a pod give a placement, or the reasons why there is none.

The same code answers the scheduling loop and ``Explain``, so what is said is what is done.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.advice import Advice
from services.scheduler.filtering import judged
from services.scheduler.nodes import Nodes, Rows, rows_of
from services.scheduler.plugin import Plugin, Scores
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import Profile, Roster

if TYPE_CHECKING:
    from services.scheduler.hindrances import Hindrance, Remedy

NO_NODES = "no nodes available to schedule pods"


@dataclass(frozen=True, slots=True)
class Decision:
    """``node`` is the choice; without one, ``summary`` says why and ``refused_by`` names the filters."""

    node: str = ""
    summary: str = ""
    refused_by: frozenset[str] = frozenset()
    feasible: int = 0
    # No node whatever will do.
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the plugins say of one node: a refusal with its reasons, or weighted scores."""

    node: str
    refused_by: str = ""
    reasons: Sequence[str] = ()
    scores: dict[str, int] = field(default_factory=dict)
    hindrances: Sequence[Hindrance] = ()

    @property
    def total(self) -> int:
        return sum(self.scores.values())


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict on each node by a profile; ``summary`` is what stands in the pod's condition where none fits."""

    profile: Profile
    verdicts: Sequence[Verdict]
    summary: str = ""
    remedies: Sequence[Remedy] = ()

    def advised(self, advice: Advice, failure: str = "") -> Explanation:
        """The same with what others say who were asked; ``failure`` is why they say nothing."""

        def judged(verdict: Verdict) -> Verdict:
            if verdict.refused_by:
                return verdict
            if verdict.node not in advice.allowed:
                refusal = advice.refusal(verdict.node)
                return Verdict(verdict.node, refusal.by, [failure] if failure else refusal.reasons)
            scores = advice.scores_of(verdict.node)
            return replace(verdict, scores={**verdict.scores, **scores}) if scores else verdict

        verdicts = [judged(verdict) for verdict in self.verdicts]
        if not self.verdicts or any(not verdict.refused_by for verdict in verdicts):
            return replace(self, verdicts=verdicts)
        reasons = Counter(reason for verdict in verdicts for reason in verdict.reasons)
        return replace(self, verdicts=verdicts, summary=self.summary or failure or summary(len(verdicts), reasons))


def decide(
    nodes: Nodes, profile: Profile, pod: PodFacts, source: random.Random, promised: str = "", advice: Advice | None = None
) -> Decision:
    """Picks the best node, or the one that was ``promised`` if it will do; ``source`` picks among equals."""
    if not len(nodes):
        return Decision(summary=NO_NODES)
    roster = profile.roster(pod)
    if (hopeless := impossible(roster.judging, pod)) is not None:
        plugin, words = hopeless
        return Decision(summary=unavailable(len(nodes), words), refused_by=frozenset({plugin.name}), hopeless=True)
    feasible, refused = judged(nodes, roster.filters, pod)
    rows = rows_of(feasible)
    kept = rows if advice is None else _advised(nodes, rows, advice)
    if not len(kept):
        reasons = Counter[str]()
        for plugin, mask in refused:
            reasons.update(plugin.counted_reasons(pod, nodes, np.flatnonzero(mask)))
        by = {plugin.name for plugin, _ in refused}
        if len(rows) and advice is not None:
            refusals = [advice.refusal(nodes.node(row).metadata.name) for row in rows.tolist()]
            reasons.update(reason for refusal in refusals for reason in refusal.reasons)
            by.update(refusal.by for refusal in refusals)
        return Decision(summary=summary(len(nodes), reasons), refused_by=frozenset(by))
    rows = kept
    if promised in nodes.rows and nodes.rows[promised] in rows:
        return Decision(node=promised, feasible=len(rows))
    best = [0] if len(rows) == 1 else _best(nodes, roster, pod, rows, advice)
    row = int(rows[best[0] if len(best) == 1 else best[source.randrange(len(best))]])
    return Decision(node=nodes.node(row).metadata.name, feasible=len(rows))


def feasible_nodes(nodes: Nodes, profile: Profile, pod: PodFacts) -> Mapping[str, core.Node]:
    """The nodes that all filters accept, by name."""
    roster = profile.roster(pod)
    if impossible(roster.judging, pod) is not None:
        return {}
    found = (nodes.node(row) for row in np.flatnonzero(judged(nodes, roster.filters, pod)[0]).tolist())
    return {node.metadata.name: node for node in found}


def _advised(nodes: Nodes, rows: Rows, advice: Advice) -> Rows:
    """The rows that those leave who were asked."""
    kept: Rows = np.array([row for row in rows.tolist() if nodes.node(row).metadata.name in advice.allowed], np.intp)
    return kept


def impossible(plugins: Sequence[Plugin], pod: PodFacts) -> tuple[Plugin, str] | None:
    """The first plugin by which no node whatever will do, and why."""
    return next(((plugin, words) for plugin in plugins if (words := plugin.impossible(pod))), None)


def explain(nodes: Nodes, profile: Profile, pod: PodFacts) -> list[Verdict]:
    """The verdict on every node, by node name."""
    roster = profile.roster(pod)
    feasible, refused = judged(nodes, roster.filters, pod)
    rows = np.flatnonzero(feasible)
    found = {int(row): Verdict(nodes.node(int(row)).metadata.name) for row in rows}
    for plugin, scores in _scores(nodes, roster, pod, rows):
        for row, score in zip(rows, scores, strict=True):
            found[int(row)].scores[plugin.name] = int(score)
    for plugin, mask in refused:
        without = np.flatnonzero(mask)
        for row, words in zip(without, plugin.all_reasons(pod, nodes, without), strict=True):
            found[int(row)] = Verdict(nodes.node(int(row)).metadata.name, plugin.name, words)
    return sorted(found.values(), key=lambda verdict: verdict.node)


def summary(count: int, reasons: Counter[str]) -> str:
    """``0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.``"""
    if not count:
        return NO_NODES
    return unavailable(count, ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items())))


def unavailable(count: int, why: str) -> str:
    """The words of the event, of so many nodes."""
    return f"0/{count} nodes are available: {why}."


def _scores(nodes: Nodes, roster: Roster, pod: PodFacts, rows: Rows) -> list[tuple[Plugin, Scores]]:
    scored = ((plugin, weight, plugin.score(pod, nodes, rows)) for plugin, weight in roster.scores) if len(rows) else ()
    return [(plugin, scores if weight == 1 else scores * weight) for plugin, weight, scores in scored if scores is not None]


def _best(nodes: Nodes, roster: Roster, pod: PodFacts, rows: Rows, advice: Advice | None) -> Rows:
    """At which places among the rows those are that score most."""
    found = [scores for _, scores in _scores(nodes, roster, pod, rows)]
    total = found[0] if len(found) == 1 else found[0] + found[1] if found else np.zeros(len(rows), np.int64)
    for scores in found[2:]:
        total += scores
    if advice is not None and advice.scores:
        names = [nodes.node(row).metadata.name for row in rows.tolist()]
        for given in advice.scores.values():
            total = total + np.array([given.get(name, 0) for name in names], np.int64)
    return rows_of(total == np.maximum.reduce(total))

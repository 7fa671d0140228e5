"""Pods near to or away from other pods: ``podAffinity`` and ``podAntiAffinity``, required ones as a filter, preferred ones as a score.

Both ways: what placed pods ask counts for the pod that comes, too. By the documentation of Kubernetes' assignment of pods to nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import numpy as np

from services.scheduler.domains import Domains
from services.scheduler.likeness import Likeness
from services.scheduler.nodes import Amount, Mask, Nodes, Rows
from services.scheduler.parts import NODE_LABELS, Part, Subject
from services.scheduler.plugin import MAX_SCORE, Change, Cluster, Plugin, Scores
from services.scheduler.plugins.interpodaffinity.arguments import InterPodAffinityArgs
from services.scheduler.plugins.interpodaffinity.meant import Meant
from services.scheduler.pod_facts import PodFacts, facts_of
from services.scheduler.ruled import Ruled
from services.scheduler.tally import Question

NOT_NEAR = "node(s) didn't match pod affinity rules"
NOT_AWAY = "node(s) didn't match pod anti-affinity rules"
UNWANTED = "node(s) didn't satisfy existing pods anti-affinity rules"


class InterPodAffinity(Ruled, Plugin):
    name: ClassVar[str] = "InterPodAffinity"
    weight: ClassVar[int] = 2
    reads: ClassVar[frozenset[Part]] = (
        frozenset({NODE_LABELS, Part(Subject.NAMESPACE, "metadata.labels")})
        | facts_of(Subject.POD, "labels", "terms")
        | facts_of(Subject.PLACED, "labels", "terms")
    )
    helped_by_arrivals: ClassVar[bool] = True
    # Who has to go for a pod is nobody that it wants to be near.
    LASTING: ClassVar[frozenset[str]] = frozenset({NOT_NEAR})
    across: ClassVar[bool] = True

    Args: ClassVar[type[Any] | None] = InterPodAffinityArgs

    def __init__(self, cluster: Cluster, args: InterPodAffinityArgs | None = None) -> None:
        super().__init__(cluster)
        self._args = args or InterPodAffinityArgs()
        self._domains = Domains(self.reads)

    def indifferent(self, pod: PodFacts, nodes: Nodes) -> bool:
        return not (pod.terms.near or pod.terms.away or nodes.asked.away)

    def minded(self, pod: PodFacts) -> Callable[[PodFacts], bool]:
        minds = Meant(pod, self.cluster).minds(pod.terms)
        # Of many pods few are unlike one another.
        known: dict[Likeness, bool] = {}

        def is_minded(other: PodFacts) -> bool:
            found = known.get(other.likeness)
            if found is None:
                found = known[other.likeness] = minds(other.likeness)
            return found

        return is_minded

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        if change.of_pod:
            left, came = (one.likeness if one is not None else None for one in (change.left, change.came))
            return Meant(pod, self.cluster).helped(pod.terms, left, came)
        # What a node changes for others is told by looking at them.
        return change.row is None or self.accepts_some(pod, nodes)

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        liked = self.liked(pod, nodes)
        if liked is None:
            return None
        found = liked[rows]
        least, most = int(found.min()), int(found.max())
        # As Kubernetes reckons: by the share, which may lack the last bit to a whole number.
        return (MAX_SCORE * ((found - least) / (most - least))).astype(np.int64) if most > least else None

    def rules(self, pod: PodFacts, nodes: Nodes) -> Iterator[tuple[str, Mask]]:
        meant = Meant(pod, self.cluster)
        if pod.terms.near:
            yield NOT_NEAR, self._near(pod, nodes, meant)
        own = ((term.topology_key, meant.by_all([term])) for term in pod.terms.away)
        theirs = ((label, meant.refused_by(label)) for label in nodes.asked.away)
        for words, questions in ((NOT_AWAY, own), (UNWANTED, theirs)):
            mask = self._away(nodes, questions)
            if mask is not None:
                yield words, mask

    def _near(self, pod: PodFacts, nodes: Nodes, meant: Meant) -> Mask:
        """Nodes in whose domains a pod is that all terms mean. The first one of pods that want to be together is near to itself."""
        terms = pod.terms.near
        domains = [self._domains.of(nodes, term.topology_key) for term in terms]
        fits: Mask = np.ones(nodes.size, np.bool_)
        for domain in domains:
            fits &= domain.labelled
        counted = nodes.tally(meant.by_all(terms))
        sums = [domain.sums(counted) for domain in domains] if counted is not None else []
        if not any(found.any() for found in sums):
            return fits if meant.itself(terms) else np.zeros(nodes.size, np.bool_)
        for domain, found in zip(domains, sums, strict=True):
            fits &= found[domain.numbers] > 0
        return fits

    def _away(self, nodes: Nodes, questions: Iterable[tuple[str, Question]]) -> Mask | None:
        """Nodes in whose domains of the labels no pod counts by the questions; None where that is all of them."""
        fits: Mask | None = None
        for label, question in questions:
            counts = nodes.tally(question)
            if counts is not None:
                alone = self._domains.of(nodes, label).spread(counts) == 0
                fits = alone if fits is None else fits & alone
        return fits

    def liked(self, pod: PodFacts, nodes: Nodes) -> Amount | None:
        """What each row counts by what the pod prefers and what placed ones do; None without any of it."""
        if self._args.ignore_preferred_terms_of_existing_pods and not pod.terms.preferred:
            return None
        meant, hard = Meant(pod, self.cluster), self._args.hard_pod_affinity_weight
        liked: Amount | None = None
        own = [(term.topology_key, meant.by_all([term]), weight) for weight, term in pod.terms.preferred]
        for label, question, weight in (*own, *((label, meant.liked_by(label, hard), 1) for label in nodes.asked.liked)):
            counts = nodes.tally(question)
            if counts is not None:
                more = self._domains.of(nodes, label).spread(counts) * weight
                liked = more if liked is None else liked + more
        return liked

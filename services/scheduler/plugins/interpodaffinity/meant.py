"""Which pods a pod's terms mean, and whose terms mean it: as questions that nodes' pods are counted by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.likeness import Likeness
from services.scheduler.plugin import Cluster
from services.scheduler.pod_facts import PodFacts
from services.scheduler.tally import Question
from services.scheduler.terms import Term, Terms

NO_LABELS: Mapping[str, str] = {}


class Meant:
    """Of one pod, for one decision: what is known of namespaces is looked up once."""

    def __init__(self, pod: PodFacts, cluster: Cluster) -> None:
        self._pod, self._cluster = pod, cluster
        self._own = pod.key.namespace
        self._labels: Mapping[str, str] | None = None
        self._namespaces: dict[str, Mapping[str, str]] | None = None

    def itself(self, terms: Sequence[Term]) -> bool:
        """Whether all of the pod's terms mean the pod."""
        return all(term.means(self._own, self._pod.labels, self._own, self._own_labels()) for term in terms)

    def by_all(self, terms: Sequence[Term]) -> Question:
        """The pods that all of some terms of the pod mean."""
        reached = tuple((term.selector, term.reach(self._own, self._known)) for term in terms)

        def count(likeness: Likeness) -> int:
            return all(
                selector is not None and (names is None or likeness.namespace in names) and selector.matches(likeness.labels)
                for selector, names in reached
            )

        return Question(("meant", reached), count, reached[0][1])

    def refused_by(self, label: str) -> Question:
        """The pods that want to be away from the pod in the domains of a label."""

        def count(likeness: Likeness) -> int:
            return any(term.topology_key == label and self._means_me(term, likeness) for term in likeness.terms.away)

        return Question(("refused", label, *self._me()), count, asking=label)

    def liked_by(self, label: str, required: int) -> Question:
        """The pods that want to be near the pod in the domains of a label, by weight, less those that prefer to be away.

        ``required`` is what a term counts that they do not only prefer.
        """

        def count(likeness: Likeness) -> int:
            liked = (*((required, term) for term in likeness.terms.near), *likeness.terms.preferred)
            return sum(weight for weight, term in liked if term.topology_key == label and self._means_me(term, likeness))

        return Question(("liked", label, required, *self._me()), count, asking=label)

    def minds(self, terms: Terms) -> Callable[[Likeness], bool]:
        """Whether required terms of the pod mean another one, or the other's mean the pod."""
        asked = [self.by_all([term]) for term in terms.away] + ([self.by_all(terms.near)] if terms.near else [])

        @cache
        def minds(likeness: Likeness) -> bool:
            return any(one.concerns(likeness) and one.count(likeness) for one in asked) or any(
                self._means_me(term, likeness) for term in likeness.terms.away
            )

        return minds

    def helped(self, terms: Terms, left: Likeness | None, came: Likeness | None) -> bool:
        """Whether the pod's required terms, or those of others, may be met since one pod left and one came: the same, or either alone."""

        def counts(question: Question, likeness: Likeness | None) -> bool:
            return likeness is not None and question.concerns(likeness) and bool(question.count(likeness))

        if terms.near:
            near = self.by_all(terms.near)
            before, after = counts(near, left), counts(near, came)
            # The first one of pods that want to be together is near to itself: once the last other one is gone.
            if (after and not before) or (before and not after and self.itself(terms.near)):
                return True
        if left is None:
            return False
        if any(counts(one, left) and not counts(one, came) for one in (self.by_all([term]) for term in terms.away)):
            return True
        asks_the_same = came is not None and came.affinity == left.affinity
        return not asks_the_same and any(self._means_me(term, left) for term in left.terms.away)

    def _me(self) -> tuple[object, ...]:
        """All that terms of others see of the pod."""
        return self._own, self._pod.pairs, frozenset(self._own_labels().items())

    def _means_me(self, term: Term, likeness: Likeness) -> bool:
        return term.means(likeness.namespace, self._pod.labels, self._own, self._own_labels())

    def _own_labels(self) -> Mapping[str, str]:
        if self._labels is None:
            found = self._cluster.get(core.Namespace, "", self._own)
            self._labels = NO_LABELS if found is None else dict(found.metadata.labels)
        return self._labels

    def _known(self) -> Mapping[str, Mapping[str, str]]:
        if self._namespaces is None:
            self._namespaces = {found.metadata.name: dict(found.metadata.labels) for found in self._cluster.list(core.Namespace)}
        return self._namespaces

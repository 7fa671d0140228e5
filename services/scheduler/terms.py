"""What a pod asks of other pods – its pod affinity and anti-affinity – read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.selectors import Selector, stored_label_selector

REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Term:
    """Pods that are to be near or away, in the domains of a node label (``topology_key``).

    Meant are pods of the ``namespaces`` and of those whose labels the ``namespace_selector`` chooses; of the asking pod's own when there
    are neither. No ``selector`` chooses no pod.
    """

    topology_key: str
    selector: Selector | None
    namespaces: frozenset[str]
    namespace_selector: Selector | None

    @property
    def only_own(self) -> bool:
        return self.namespace_selector is None and not self.namespaces

    def means(self, own: str, labels: Mapping[str, str], namespace: str, namespace_labels: Mapping[str, str]) -> bool:
        """Whether a pod of these labels in this namespace is meant by a pod of the namespace ``own``."""
        if self.selector is None or not self.selector.matches(labels):
            return False
        if self.only_own:
            return namespace == own
        by_labels = self.namespace_selector
        return namespace in self.namespaces or (by_labels is not None and by_labels.matches(namespace_labels))

    def reach(self, own: str, known: Callable[[], Mapping[str, Mapping[str, str]]]) -> frozenset[str] | None:
        """The namespaces of the pods that are meant, None for all. ``known``: the labels of each namespace, asked where it takes them."""
        if self.only_own:
            return frozenset((own,))
        if self.namespace_selector is None:
            return self.namespaces
        if self.namespace_selector.everything:
            return None
        return self.namespaces.union(name for name, labels in known().items() if self.namespace_selector.matches(labels))


@dataclass(frozen=True, slots=True)
class Terms:
    """All terms of a pod. Weights of preferred anti-affinity are negative."""

    near: tuple[Term, ...] = ()
    away: tuple[Term, ...] = ()
    preferred: tuple[tuple[int, Term], ...] = ()
    # By which a placed pod likes to be joined, or not: its required affinity and its preferred terms.
    liked: tuple[Term, ...] = ()
    # The labels in whose domains a placed pod asks something of others: away or liked.
    labels: frozenset[str] = frozenset()


NONE = Terms()


def terms_of(text: bytes) -> Terms:
    """The terms of what ``text_of`` gave."""
    return _parsed(text) if text else NONE


def text_of(affinity: core.Affinity) -> bytes:
    """A pod's affinities to pods as bytes: equal where they ask for the same. Empty without."""
    if not affinity.HasField("pod_affinity") and not affinity.HasField("pod_anti_affinity"):
        return b""
    kept = core.Affinity(
        pod_affinity=affinity.pod_affinity if affinity.HasField("pod_affinity") else None,
        pod_anti_affinity=affinity.pod_anti_affinity if affinity.HasField("pod_anti_affinity") else None,
    )
    return kept.SerializeToString(deterministic=True)


@lru_cache(REMEMBERED)
def _parsed(text: bytes) -> Terms:
    affinity = core.Affinity.FromString(text)
    near, away = affinity.pod_affinity, affinity.pod_anti_affinity
    required = tuple(_term(term) for term in near.required_during_scheduling_ignored_during_execution)
    preferred = (*_weighted(near, 1), *_weighted(away, -1))
    unwanted = tuple(_term(term) for term in away.required_during_scheduling_ignored_during_execution)
    liked = (*required, *(term for _, term in preferred))
    labels = frozenset(term.topology_key for term in (*unwanted, *liked))
    return Terms(near=required, away=unwanted, preferred=preferred, liked=liked, labels=labels)


def _weighted(affinity: Any, sign: int) -> tuple[tuple[int, Term], ...]:
    preferred = affinity.preferred_during_scheduling_ignored_during_execution
    return tuple((sign * found.weight, _term(found.pod_affinity_term)) for found in preferred)


def _term(term: core.PodAffinityTerm) -> Term:
    return Term(
        term.topology_key,
        stored_label_selector(term.label_selector) if term.HasField("label_selector") else None,
        frozenset(term.namespaces),
        stored_label_selector(term.namespace_selector) if term.HasField("namespace_selector") else None,
    )

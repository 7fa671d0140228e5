"""How many pods of which kind each node has, counted by questions.

A question says what a pod counts by its likeness. Its answer is kept and brought up to date by what changed since: a decision pays for the
pods that came and went, not for all that are there.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.scheduler.likeness import Likeness

LIMIT = 256
REMEMBERED_CHANGES = 10_000
REMEMBERED_WEIGHTS = 4096

Counts = NDArray[np.int64]
S = TypeVar("S", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Question:
    """``count`` says what a pod counts. Equal keys must mean equal questions: what the answer depends on besides the pod is in the key.

    ``namespaces`` are those whose pods may count, None for all; with ``asking``, a node label, only pods count that have terms for
    other pods in its domains.
    """

    key: Hashable
    count: Callable[[Likeness], int]
    namespaces: frozenset[str] | None = None
    asking: str = ""

    def concerns(self, likeness: Likeness) -> bool:
        asks = not self.asking or self.asking in likeness.terms.labels
        return asks and (self.namespaces is None or likeness.namespace in self.namespaces)


@dataclass(slots=True)
class Asked:
    """The node labels in whose domains placed pods want to be away from others, and like or dislike them; how many likenesses do."""

    away: Counter[str] = field(default_factory=Counter)
    liked: Counter[str] = field(default_factory=Counter)

    def add(self, likeness: Likeness, times: int) -> None:
        for labels, terms in ((self.away, likeness.terms.away), (self.liked, likeness.terms.liked)):
            for term in terms:
                labels[term.topology_key] += times
                if not labels[term.topology_key]:
                    del labels[term.topology_key]


@dataclass(slots=True)
class _Kept:
    question: Question
    version: int
    values: Counts
    # The sum of the values' magnitudes; pods that count nothing need no array.
    total: int = 0
    weights: dict[Likeness, int] = field(default_factory=dict)

    def add(self, likeness: Likeness, row: int, times: int) -> None:
        weight = self.weights.get(likeness)
        if weight is None:
            if len(self.weights) >= REMEMBERED_WEIGHTS:
                self.weights.clear()
            weight = self.weights[likeness] = self.question.count(likeness) if self.question.concerns(likeness) else 0
        if weight:
            self.values[row] += weight * times
            self.total += abs(weight) * times


class Tallies:
    """The pods of a table by likeness and row, and the answers to questions about them."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Likeness, Counter[int]]] = {}
        # Of those that have terms for other pods, by the labels in whose domains.
        self._asking: dict[str, dict[Likeness, Counter[int]]] = {}
        self.asked = Asked()
        self._log: list[tuple[Likeness, int, int]] = []
        self._forgotten = 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def pods(self) -> dict[Likeness, dict[int, int]]:
        """How many pods of each likeness are on which rows: a copy."""
        return {likeness: dict(rows) for known in self._rows.values() for likeness, rows in known.items()}

    def add(self, likeness: Likeness, row: int, sign: int) -> None:
        """Counts a pod of a row in or out."""
        known = self._rows.setdefault(likeness.namespace, {})
        rows = known.get(likeness)
        if rows is None:
            rows = known[likeness] = Counter()
            for label in likeness.terms.labels:
                self._asking.setdefault(label, {})[likeness] = rows
            self.asked.add(likeness, 1)
        rows[row] += sign
        if not rows[row]:
            del rows[row]
        if not rows:
            del known[likeness]
            for label in likeness.terms.labels:
                del self._asking[label][likeness]
                if not self._asking[label]:
                    del self._asking[label]
            self.asked.add(likeness, -1)
            if not known:
                del self._rows[likeness.namespace]
        self._log.append((likeness, row, sign))
        if len(self._log) > REMEMBERED_CHANGES:
            self._forgotten += len(self._log)
            self._log.clear()

    def answer(self, question: Question, size: int) -> Counts | None:
        """The sum for each row; None where no pod counts anything. The array is its own: do not change it."""
        kept, version = self._kept.get(question.key), self._forgotten + len(self._log)
        if kept is None or kept.version < self._forgotten:
            kept = self._kept[question.key] = self._counted(question, size)
            if len(self._kept) > LIMIT:
                self._kept.popitem(last=False)
        elif kept.version != version:
            if len(kept.values) < size:
                kept.values = resized(kept.values, size)
            for likeness, row, sign in self._log[kept.version - self._forgotten :]:
                kept.add(likeness, row, sign)
        kept.version = version
        self._kept.move_to_end(question.key)
        if not kept.total:
            return None
        if len(kept.values) < size:
            kept.values = resized(kept.values, size)
        return kept.values[:size]

    def validate(self) -> None:
        """Checks what is kept against a fresh count; for tests."""
        for key, kept in list(self._kept.items()):
            size = len(kept.values)
            shown, fresh = self.answer(kept.question, size), self._counted(kept.question, size)
            assert (shown is None) == (not fresh.total), key
            assert shown is None or np.array_equal(shown, fresh.values), key

    def _counted(self, question: Question, size: int) -> _Kept:
        kept = _Kept(question, 0, np.zeros(size, np.int64))
        for likeness, rows in self._concerned(question):
            for row, times in rows.items():
                kept.add(likeness, row, times)
        return kept

    def _concerned(self, question: Question) -> Iterable[tuple[Likeness, Mapping[int, int]]]:
        if question.asking:
            return self._asking.get(question.asking, {}).items()
        names = self._rows.keys() if question.namespaces is None else question.namespaces
        return (item for name in names for item in self._rows.get(name, {}).items())


def resized(values: NDArray[S], size: int) -> NDArray[S]:
    """A copy with as many rows; new ones hold zero."""
    new: NDArray[Any] = np.zeros(size, values.dtype)
    new[: len(values)] = values
    return new

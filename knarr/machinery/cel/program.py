"""What an expression becomes: a function that counts what it costs and stops at a limit, with its type and the most that it may cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from knarr.machinery.cel.errors import CostExceeded, EvaluationError
from knarr.machinery.cel.types import Type

MOST_COST = 2**63
# An evaluation takes no longer, whatever it costs; after so many units it is looked at the clock.
RUN_SECONDS, LOOK_COST = 1.0, 10_000
# What it costs to make a list, a map or an object, and a round of a comprehension.
LIST_COST, MAP_COST, OBJECT_COST, STEP_COST = 10, 30, 40, 3


class Evaluation:
    """One run: the variables, what it has cost, what it may cost, and when it ends in any case."""

    __slots__ = ("_end", "_look", "cost", "limit", "variables")

    def __init__(self, variables: dict[str, Any], limit: int) -> None:
        self.variables, self.limit, self.cost = variables, limit, 0
        self._look, self._end = LOOK_COST, time.monotonic() + RUN_SECONDS

    def charge(self, cost: int) -> None:
        self.cost += cost
        if self.cost > self.limit:
            raise CostExceeded("operation cancelled: actual cost limit exceeded")
        if self.cost > self._look:
            self._look = self.cost + LOOK_COST
            if time.monotonic() > self._end:
                raise CostExceeded(f"operation cancelled: actual cost limit exceeded: it takes longer than {RUN_SECONDS:g} s")


Run = Callable[[Evaluation], Any]


class Part(NamedTuple):
    """A compiled node; ``cost`` is the most that it may cost."""

    type: Type
    run: Run
    cost: int


@dataclass(frozen=True, slots=True)
class Program:
    """``cost`` is the most that an evaluation may cost; ``names`` are the variables that it looks at."""

    type: Type
    cost: int
    names: frozenset[str]
    run: Run

    def evaluate(self, variables: Mapping[str, Any], limit: int) -> tuple[Any, int]:
        """The value, and what it cost. Raises EvaluationError or CostExceeded; both have the ``cost`` of the run until then."""
        evaluation = Evaluation(dict(variables), limit)
        try:
            return self.run(evaluation), evaluation.cost
        except (EvaluationError, CostExceeded) as error:
            error.cost = evaluation.cost  # type: ignore[union-attr]
            raise
        except RecursionError:
            raise EvaluationError("values are nested too deeply") from None

"""Match conditions: whether a webhook or a policy is about a request, as its expressions say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from knarr.machinery.cel.admission import CONDITIONS_LIMIT, compiled, environment
from knarr.machinery.cel.types import BOOL
from services.apiserver.admission.expressions import Budget, Expression, ExpressionFailed, OutOfBudget, Pace, Scene


class ConditionsFailed(Exception):
    """Some could not be carried out, and none of the others says no."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """All of them must hold; one that says no outweighs errors of others."""

    expressions: list[Expression]
    pace: Pace = field(default_factory=Pace)

    @classmethod
    def of(cls, said: Iterable[Any], *, params: bool) -> Conditions:
        """From MatchConditions."""
        compile_one = partial(compiled, types=environment(params=params), results=[BOOL])
        return cls([Expression.of(condition.expression, compile_one) for condition in said])

    async def hold(self, scene: Scene) -> bool:
        """Raises ConditionsFailed."""
        return await scene.evaluated(self._hold, self.pace)

    def _hold(self, seen: dict[str, Any]) -> bool:
        budget, problems = Budget(CONDITIONS_LIMIT), []
        for expression in self.expressions:
            try:
                if expression.evaluate(seen, budget) is False:
                    return False
            except ExpressionFailed as error:
                problems.append(str(error))
            except OutOfBudget as error:
                raise ConditionsFailed(str(error)) from None
        if problems:
            raise ConditionsFailed(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
        return True

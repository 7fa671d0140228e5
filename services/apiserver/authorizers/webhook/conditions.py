"""Which requests a webhook of the authorizer's is asked about, in CEL. Specified by Kubernetes' AuthorizationConfiguration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.machinery.cel.admission import CALL_LIMIT, CONDITIONS_LIMIT, compiled
from knarr.machinery.cel.errors import CostExceeded, EvaluationError, InvalidExpression
from knarr.machinery.cel.program import Program
from knarr.machinery.cel.types import BOOL, STRING, Field, Type, list_of, map_of, object_of

# As many as Kubernetes takes.
MOST = 64
REQUEST = "request"


def _object(sort: str, /, **fields: Type) -> Type:
    return object_of(f"kubernetes.{sort}", {name: Field(name, found) for name, found in fields.items()})


_REQUIREMENT = _object("SelectorRequirement", key=STRING, operator=STRING, values=list_of(STRING))
_SELECTOR = _object("Selector", rawSelector=STRING, requirements=list_of(_REQUIREMENT))
SPEC = _object(
    "SubjectAccessReviewSpec",
    user=STRING, uid=STRING, groups=list_of(STRING), extra=map_of(STRING, list_of(STRING)),
    resourceAttributes=_object(
        "ResourceAttributes",
        namespace=STRING, verb=STRING, group=STRING, version=STRING, resource=STRING, subresource=STRING, name=STRING,
        fieldSelector=_SELECTOR, labelSelector=_SELECTOR,
    ),
    nonResourceAttributes=_object("NonResourceAttributes", path=STRING, verb=STRING),
)  # fmt: skip


class ConditionFailed(Exception):
    """One could not be carried out, and none of the others says no."""


class MatchConditions:
    """All of them must hold; one that says no outweighs errors of others."""

    def __init__(self, sources: Sequence[str]) -> None:
        """Raises ValueError with the number of the expression."""
        if len(sources) > MOST:
            raise ValueError(f"there are {len(sources)}, at most {MOST} are taken")
        self._programs: list[tuple[str, Program]] = []
        for number, source in enumerate(sources):
            try:
                self._programs.append((source, compiled(source, {REQUEST: SPEC}, [BOOL])))
            except InvalidExpression as error:
                raise ValueError(f"[{number}].expression: {error.message}") from None

    def hold(self, spec: dict[str, Any]) -> bool:
        """Raises ConditionFailed."""
        left, problems = CONDITIONS_LIMIT, []
        for source, program in self._programs:
            try:
                value, cost = program.evaluate({REQUEST: spec}, CALL_LIMIT)
            except (EvaluationError, CostExceeded) as error:
                cost = getattr(error, "cost", 0)
                problems.append(f"cel evaluation error: expression '{source}' resulted in error: {error}")
            else:
                if value is False:
                    return False
            left -= cost
            if left < 0:
                raise ConditionFailed("the match conditions cost more than they may")
        if problems:
            raise ConditionFailed(problems[0])
        return True

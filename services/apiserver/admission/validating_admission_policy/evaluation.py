"""What a policy says about a request: refusals and annotations. Loaded by those alone who have policies. Pure.

Specified by Kubernetes' plugin ``ValidatingAdmissionPolicy``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from knarr.machinery.cel.admission import POLICY_LIMIT, VARIABLES, Variables
from knarr.machinery.cel.program import Program
from knarr.machinery.cel.types import BOOL, NULL, STRING
from knarr.machinery.cel.values import type_name
from services.apiserver.admission.expressions import Budget, Expression, ExpressionFailed, OutOfBudget
from services.apiserver.admission.policies.compiled import Policy

INVALID = "Invalid"
MAX_MESSAGE_BYTES = 5 * 1024


@dataclass(frozen=True, slots=True)
class Denial:
    """``index`` is that of the validation; ``reason`` is empty where it could not be carried out."""

    index: int
    message: str
    reason: str = ""


@dataclass(slots=True)
class Outcome:
    """``broken`` are audit annotations that could not be made, in words: whatever a binding says, they refuse."""

    denials: list[Denial] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Validations:
    """The expressions of one policy."""

    spec: Any
    ignores: bool
    variables: Mapping[str, Program]
    checks: Sequence[tuple[Expression, Expression | None]]
    annotations: Sequence[tuple[str, Expression]]

    @classmethod
    def of(cls, policy: Policy) -> Validations:
        spec = policy.said
        checks = [
            (
                policy.expression(validation.expression, [BOOL]),
                policy.expression(validation.message_expression, [STRING], authorizer=False) if validation.message_expression else None,
            )
            for validation in spec.validations
        ]
        annotations = [(said.key, policy.expression(said.value_expression, [STRING, NULL])) for said in spec.audit_annotations]
        return cls(spec, policy.ignores, policy.variables, checks, annotations)

    def judged(self, seen: dict[str, Any]) -> Outcome:
        """Raises Undecided. What fails refuses, unless the policy ignores that."""
        seen[VARIABLES] = Variables(self.variables, seen)
        outcome = Outcome()
        try:
            self._judge(seen, outcome)
        except OutOfBudget as error:
            outcome.denials = [] if self.ignores else [Denial(0, str(error))]
            return outcome
        self._annotate(seen, outcome)
        return outcome

    def _judge(self, seen: dict[str, Any], outcome: Outcome) -> None:
        budget = Budget(POLICY_LIMIT)
        for index, (check, message) in enumerate(self.checks):
            try:
                if check.evaluate(seen, budget) is True:
                    continue
            except ExpressionFailed as error:
                if not self.ignores:
                    outcome.denials.append(Denial(index, str(error)))
                continue
            said = self.spec.validations[index]
            words = _message(message, seen, budget) or said.message.strip() or f"failed expression: {said.expression.strip()}"
            outcome.denials.append(Denial(index, words, said.reason or INVALID))

    def _annotate(self, seen: dict[str, Any], outcome: Outcome) -> None:
        budget = Budget(POLICY_LIMIT)
        for key, expression in self.annotations:
            try:
                value = expression.evaluate(seen, budget)
            except (ExpressionFailed, OutOfBudget) as error:
                if not self.ignores:
                    outcome.broken.append(str(error))
                continue
            if isinstance(value, str):
                if value.strip():
                    outcome.annotations[key] = value.strip()
            elif value is not None:
                outcome.broken.append(
                    f"valueExpression '{expression.source}' resulted in unsupported return type: {type_name(value)}. "
                    "Return type must be either string or null."
                )


def _message(expression: Expression | None, seen: dict[str, Any], budget: Budget) -> str:
    """Empty where there is none that can be shown."""
    if expression is None:
        return ""
    try:
        found = expression.evaluate(seen, budget)
    except ExpressionFailed:
        return ""
    found = found.strip() if isinstance(found, str) else ""
    return found if "\n" not in found and len(found.encode()) <= MAX_MESSAGE_BYTES else ""

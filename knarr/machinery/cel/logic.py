"""The operators that do not look at all of their operands, or bear that one of them fails; and ``has``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.machinery.cel.errors import EvaluationError, InvalidExpression
from knarr.machinery.cel.program import Evaluation, Part
from knarr.machinery.cel.syntax import Call, Select
from knarr.machinery.cel.types import BOOL, assignable, join
from knarr.machinery.cel.values import Optional

if TYPE_CHECKING:
    from knarr.machinery.cel.compiler import Compiler


def not_(compiler: Compiler, node: Call) -> Part:
    inner = compiler.boolean(node.arguments[0], "!_")
    of = inner.run

    def run(evaluation: Evaluation) -> Any:
        value = of(evaluation)
        evaluation.cost += 1
        if value is True or value is False:
            return not value
        raise EvaluationError("no such overload")

    return Part(BOOL, run, inner.cost + 1)


def and_(compiler: Compiler, node: Call) -> Part:
    return _either(compiler, node, "_&&_", decisive=False)


def or_(compiler: Compiler, node: Call) -> Part:
    return _either(compiler, node, "_||_", decisive=True)


def _either(compiler: Compiler, node: Call, operator: str, *, decisive: bool) -> Part:
    left, right = (compiler.boolean(argument, operator) for argument in node.arguments)
    this, other = left.run, right.run

    def run(evaluation: Evaluation) -> Any:
        problem: EvaluationError | None = None
        try:
            value = this(evaluation)
            if value is decisive:
                return decisive
            if value is not (not decisive):
                problem = EvaluationError("no such overload")
        except EvaluationError as error:
            problem = error
        # What the one side cannot tell the other one may.
        value = other(evaluation)
        if value is decisive:
            return decisive
        if problem is not None:
            raise problem
        if value is not (not decisive):
            raise EvaluationError("no such overload")
        return value

    return Part(BOOL, run, left.cost + right.cost)


def choice_(compiler: Compiler, node: Call) -> Part:
    condition = compiler.boolean(node.arguments[0], "_?_:_")
    chosen, other = compiler.part(node.arguments[1]), compiler.part(node.arguments[2])
    if not assignable(chosen.type, other.type, {}) and not assignable(other.type, chosen.type, {}):
        shown = f"(bool, {chosen.type}, {other.type})"
        raise InvalidExpression(f"found no matching overload for '_?_:_' applied to '{shown}'", node.position)

    def run(evaluation: Evaluation) -> Any:
        value = condition.run(evaluation)
        if value is True:
            return chosen.run(evaluation)
        if value is False:
            return other.run(evaluation)
        raise EvaluationError("no such overload")

    return Part(join(chosen.type, other.type), run, condition.cost + max(chosen.cost, other.cost))


def has_(compiler: Compiler, node: Call) -> Part:
    field = node.arguments[0] if len(node.arguments) == 1 else None
    if not isinstance(field, Select) or field.optional:
        raise InvalidExpression("invalid argument to has() macro", node.position)
    operand = compiler.part(field.operand)
    inner = operand.type.parameters[0] if operand.type.name == "optional_type" else operand.type
    name, _ = compiler.field(inner, field.field, field.position)
    of = operand.run

    # Whether something is there costs nothing: Kubernetes counted so first, and published definitions stay within their limits by that.
    def run(evaluation: Evaluation) -> Any:
        value = of(evaluation)
        if isinstance(value, Optional):
            value = value.value if value.present else {}
        if not isinstance(value, dict):
            raise EvaluationError("no such overload")
        return name in value

    return Part(BOOL, run, operand.cost)


OPERATORS = {"_&&_": and_, "_||_": or_, "_?_:_": choice_, "!_": not_}

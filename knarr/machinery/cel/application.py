"""Functions applied to arguments: the overload that fits is found, what it costs is counted, and its failure is said in CEL's words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from knarr.machinery.cel import values
from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.cel.functions import Overload, one
from knarr.machinery.cel.program import Evaluation, Run
from knarr.machinery.cel.types import DYN, Type, is_variable


def size_of(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | dict) else getattr(value, "cel_size", 1)


def _fits(wanted: Type, value: Any) -> bool:
    """Whether a value, whose type is only known now, may be an argument."""
    return wanted == DYN or is_variable(wanted) or values.type_name(value) == wanted.name


def applied(overloads: list[Overload], arguments: list[Run]) -> Run:
    if len(overloads) == 1:
        return _applied_pair(overloads[0], *arguments) if len(arguments) == 2 else _applied_one(overloads[0], arguments)

    def run(evaluation: Evaluation) -> Any:
        given = [argument(evaluation) for argument in arguments]
        for overload in overloads:
            if all(map(_fits, overload.parameters, given)):
                evaluation.charge(overload.cost([size_of(value) for value in given]) or 1)
                return overload.run(*given)
        raise EvaluationError("no such overload")

    return run


def _applied_one(overload: Overload, arguments: list[Run]) -> Run:
    function, price = overload.run, overload.cost

    def run(evaluation: Evaluation) -> Any:
        given = [argument(evaluation) for argument in arguments]
        evaluation.charge(price([size_of(value) for value in given]) or 1)
        try:
            return function(*given)
        except (TypeError, AttributeError):
            raise _misfit(overload, given) from None

    return run


def _applied_pair(overload: Overload, first: Run, second: Run) -> Run:
    """The same for two arguments: operators, that is, of which most expressions are made."""
    function, price = overload.run, overload.cost
    simple = price is one

    def run(evaluation: Evaluation) -> Any:
        left, right = first(evaluation), second(evaluation)
        cost = 1 if simple else price((size_of(left), size_of(right))) or 1
        evaluation.cost += cost
        if evaluation.cost > evaluation.limit:
            evaluation.charge(0)
        try:
            return function(left, right)
        except (TypeError, AttributeError):
            raise _misfit(overload, (left, right)) from None

    return run


def _misfit(overload: Overload, given: Sequence[Any]) -> Exception:
    """What a function failed with, if it was not given what it takes."""
    if all(map(_fits, overload.parameters, given)):
        return sys.exc_info()[1]  # type: ignore[return-value]
    return EvaluationError("no such overload")

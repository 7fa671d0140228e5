"""Comprehensions at run time: what is gone through, what stands for its elements meanwhile, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.cel.program import LIST_COST, STEP_COST, Evaluation, Run


def with_variables(evaluation: Evaluation, names: list[str], given: list[Any], body: Run) -> Any:
    """What ``body`` answers while some variables stand for something."""
    variables = evaluation.variables
    before = {name: variables[name] for name in names if name in variables}
    variables.update(zip(names, given, strict=True))
    try:
        return body(evaluation)
    finally:
        for name in names:
            variables.pop(name, None)
        variables.update(before)


def _rounds(evaluation: Evaluation, through: Run, names: list[str]) -> Any:
    """Goes through a list or a map, with its variables set; they are taken away at the end."""
    found = through(evaluation)
    if not isinstance(found, dict | list):
        raise EvaluationError("no such overload")
    variables, single = evaluation.variables, names[0]
    before = {name: variables[name] for name in names if name in variables}
    try:
        if len(names) == 1:
            for item in found:
                evaluation.charge(STEP_COST)
                variables[single] = item
                yield (item,)
        else:
            for pair in found.items() if isinstance(found, dict) else enumerate(found):
                evaluation.charge(STEP_COST)
                variables[single], variables[names[1]] = pair
                yield pair
    finally:
        for name in names:
            variables.pop(name, None)
        variables.update(before)


def _every(through: Run, names: list[str], body: Run, *, decisive: bool = False) -> Run:
    """``all``, or with ``decisive`` ``exists``: one element that decides outweighs errors of others."""

    def run(evaluation: Evaluation) -> Any:
        problem: EvaluationError | None = None
        for _ in _rounds(evaluation, through, names):
            try:
                value = body(evaluation)
                if value is decisive:
                    return decisive
                if value is not (not decisive):
                    problem = EvaluationError("no such overload")
            except EvaluationError as error:
                problem = error
        if problem is not None:
            raise problem
        return not decisive

    return run


def _some(through: Run, names: list[str], body: Run) -> Run:
    return _every(through, names, body, decisive=True)


def _exactly_one(through: Run, names: list[str], body: Run) -> Run:
    def run(evaluation: Evaluation) -> Any:
        return sum(body(evaluation) is True for _ in _rounds(evaluation, through, names)) == 1

    return run


QUANTIFIERS: dict[str, Callable[[Run, list[str], Run], Run]] = {
    "all": _every,
    "exists": _some,
    "exists_one": _exactly_one,
    "existsOne": _exactly_one,
}


# What a comprehension has made: for each round the first of its variables, and what came of it.
Rounds = list[tuple[Any, Any]]


def values_of(rounds: Rounds) -> list[Any]:
    return [value for _, value in rounds]


def _entries_of(rounds: Rounds) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for _, entries in rounds:
        if not isinstance(entries, dict):
            raise EvaluationError("no such overload")
        for key, value in entries.items():
            if key in made:
                raise EvaluationError(f"insert failed: key {key} already exists")
            made[key] = value
    return made


MADE: dict[str, Callable[[Rounds], Any]] = {"transformMap": dict, "transformMapEntry": _entries_of}


def mapping(through: Run, names: list[str], condition: Run | None, step: Run | None, *, make: Callable[[Rounds], Any]) -> Run:
    def run(evaluation: Evaluation) -> Any:
        evaluation.charge(LIST_COST)
        made: Rounds = []
        for item in _rounds(evaluation, through, names):
            if condition is not None and condition(evaluation) is not True:
                continue
            evaluation.charge(LIST_COST)
            made.append((item[0], step(evaluation) if step is not None else item[-1]))
        return make(made)

    return run

"""The functions of the language: what they take and answer, what they cost, and what they do.

A cost is counted in CEL's units from the sizes of the arguments: those that they have when it is evaluated, those that they may have when
it is estimated. https://github.com/google/cel-go/blob/master/interpreter/runtimecost.go has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.machinery.cel.types import Type

Sizes = Sequence[int]
Cost = Callable[[Sizes], int]
Estimate = Callable[[Sequence[Type]], int]
# Tenths of a unit for each letter that is looked at.
TRAVERSAL = 10


@dataclass(frozen=True, slots=True)
class Overload:
    """``run`` takes the arguments, a method's target first, and raises EvaluationError. ``size`` bounds what it answers.

    ``cost`` is also what it may cost at most, unless that depends on more than the sizes of the arguments: then ``estimate`` tells it.
    """

    parameters: tuple[Type, ...]
    result: Type
    run: Callable[..., Any]
    cost: Cost
    size: Cost | None = None
    estimate: Estimate | None = None

    def most(self, types: Sequence[Type]) -> int:
        """What it may cost at most for arguments of such types."""
        return self.estimate(types) if self.estimate is not None else self.cost([found.size for found in types])


# By name; methods apart from functions.
Functions = Mapping[str, Sequence[Overload]]


def one(_: Sizes) -> int:
    return 1


def traversed(*positions: int, times: int = 1) -> Cost:
    """The letters of some arguments, all of them if none is named; ``times`` they are gone through."""

    def cost(sizes: Sizes) -> int:
        letters = sum(sizes[position] for position in positions) if positions else sum(sizes)
        return -(-letters * times // TRAVERSAL)

    return cost


def elements(position: int = 0) -> Cost:
    """One unit for each element."""
    return lambda sizes: max(1, sizes[position])


def pairs(sizes: Sizes) -> int:
    """Each element with each."""
    return max(1, sizes[0] * sizes[1])


def compared(types: Sequence[Type]) -> int:
    """Each element of a list is compared; of texts letter by letter."""
    items = types[0]
    letters = items.element.size if items.element.name in ("string", "bytes") else 0
    return max(1, items.size) * (1 - (-letters // TRAVERSAL))


def matched(sizes: Sizes) -> int:
    """A text of so many letters against a pattern of so many."""
    return -(-(sizes[0] + 1) // TRAVERSAL) * max(1, -(-sizes[1] // 4))


def together(sizes: Sizes) -> int:
    return sum(sizes)


def first(sizes: Sizes) -> int:
    return sizes[0]


class Library:
    """Collects overloads by name."""

    def __init__(self) -> None:
        self.functions: dict[str, list[Overload]] = {}
        self.methods: dict[str, list[Overload]] = {}

    def function(
        self, name: str, parameters: tuple[Type, ...], result: Type, run: Callable[..., Any], cost: Cost = one, size: Cost | None = None
    ) -> None:
        self.functions.setdefault(name, []).append(Overload(parameters, result, run, cost, size))

    def method(
        self,
        name: str,
        parameters: tuple[Type, ...],
        result: Type,
        run: Callable[..., Any],
        cost: Cost = one,
        size: Cost | None = None,
        estimate: Estimate | None = None,
    ) -> None:
        """The target is the first of the ``parameters``."""
        self.methods.setdefault(name, []).append(Overload(parameters, result, run, cost, size, estimate))

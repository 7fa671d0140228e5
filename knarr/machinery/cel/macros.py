"""Macros: calls whose arguments are not values but names, and what is to be done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from knarr.machinery.cel.errors import EvaluationError, InvalidExpression
from knarr.machinery.cel.program import LIST_COST, STEP_COST, Evaluation, Part
from knarr.machinery.cel.rounds import MADE, QUANTIFIERS, mapping, values_of, with_variables
from knarr.machinery.cel.syntax import Call, Name
from knarr.machinery.cel.types import BOOL, DYN, INT, Type, list_of, map_of, optional_of
from knarr.machinery.cel.values import NONE, Optional

if TYPE_CHECKING:
    from knarr.machinery.cel.compiler import Compiler


def _loop(compiler: Compiler, node: Call, count: int) -> tuple[Part, list[str], dict[str, Type]]:
    """What is gone through, and the variables that stand for its elements, of which there are one or two."""
    assert node.target is not None
    through = compiler.part(node.target)
    if through.type.name not in ("list", "map", "dyn"):
        words = f"expression of type '{through.type}' cannot be range of a comprehension (must be list, map, or dynamic)"
        raise InvalidExpression(words, node.target.position)
    names = [argument.name for argument in node.arguments[:count] if isinstance(argument, Name)]
    if len(names) != count or len(set(names)) != count:
        raise InvalidExpression("argument must be a simple name", node.position)
    if count == 1:
        return through, names, {names[0]: through.type.element}
    if through.type.name == "map":
        return through, names, dict(zip(names, through.type.parameters, strict=True))
    return through, names, dict(zip(names, (INT, through.type.element), strict=True))


def _quantified(compiler: Compiler, node: Call) -> Part:
    """all, exists and exists_one, with one variable or two."""
    count = len(node.arguments) - 1
    through, names, types = _loop(compiler, node, count)
    body = compiler.within(types, lambda: compiler.boolean(node.arguments[-1], "_&&_"))
    cost = through.cost + 1 + through.type.size * (body.cost + STEP_COST)
    return Part(BOOL, QUANTIFIERS[node.function](through.run, names, body.run), cost)


def _mapped(compiler: Compiler, node: Call) -> Part:
    """map with and without a condition, filter, and their kin with two variables."""
    name = node.function
    count = 2 if name.startswith("transform") else 1
    through, names, types = _loop(compiler, node, count)
    has_condition = name == "filter" or len(node.arguments) == count + 2
    condition = compiler.within(types, lambda: compiler.boolean(node.arguments[count], "_?_:_")) if has_condition else None
    step = None if name == "filter" else compiler.within(types, lambda: compiler.part(node.arguments[-1]))
    each = (condition.cost if condition else 0) + (step.cost if step else 0) + STEP_COST + LIST_COST
    cost = through.cost + LIST_COST + through.type.size * each
    if name == "transformMapEntry":
        found = step.type if step is not None and step.type.name == "map" else DYN
        if found == DYN and step is not None and step.type != DYN:
            raise InvalidExpression("transformMapEntry() makes a map of each entry", node.position)
        found = found.sized(through.type.size) if found != DYN else map_of(DYN, DYN, through.type.size)
    elif name == "transformMap":
        keys = through.type.parameters[0] if through.type.name == "map" else INT
        found = map_of(keys, step.type if step else DYN, through.type.size)
    else:
        found = list_of(step.type if step else through.type.element, through.type.size)
    runs = condition.run if condition else None, step.run if step else None
    return Part(found, mapping(through.run, names, *runs, make=MADE.get(name, values_of)), cost)


def bind(compiler: Compiler, node: Call) -> Part:
    if len(node.arguments) != 3 or not isinstance(node.arguments[0], Name):
        raise InvalidExpression("cel.bind() variable names must be simple identifiers", node.position)
    name, value = node.arguments[0].name, compiler.part(node.arguments[1])
    body = compiler.within({name: value.type}, lambda: compiler.part(node.arguments[2]))

    def run(evaluation: Evaluation) -> Any:
        return with_variables(evaluation, [name], [value.run(evaluation)], body.run)

    return Part(body.type, run, value.cost + body.cost + 1)


def _optional_map(compiler: Compiler, node: Call) -> Part:
    assert node.target is not None
    of = compiler.part(node.target)
    if of.type.name not in ("optional_type", "dyn") or not isinstance(node.arguments[0], Name):
        raise InvalidExpression(f"{node.function}() variable name must be a simple identifier", node.position)
    name, flat = node.arguments[0].name, node.function == "optFlatMap"
    inner = of.type.parameters[0] if of.type.parameters else DYN
    body = compiler.within({name: inner}, lambda: compiler.part(node.arguments[1]))

    def run(evaluation: Evaluation) -> Any:
        value = of.run(evaluation)
        evaluation.charge(1)
        if not isinstance(value, Optional):
            raise EvaluationError("no such overload")
        if not value.present:
            return NONE
        found = with_variables(evaluation, [name], [value.value], body.run)
        return found if flat else Optional(True, found)

    return Part(body.type if flat else optional_of(body.type), run, of.cost + body.cost + 1)


# By name and number of arguments; ``cel.bind`` is found by its namespace.
MACROS: dict[tuple[str, int], Callable[[Any, Call], Part]] = {
    **{(name, count): _quantified for name in ("all", "exists", "exists_one", "existsOne") for count in (2, 3)},
    **{("map", count): _mapped for count in (2, 3)},
    ("filter", 2): _mapped,
    **{(name, count): _mapped for name in ("transformList", "transformMap", "transformMapEntry") for count in (3, 4)},
    ("optMap", 2): _optional_map,
    ("optFlatMap", 2): _optional_map,
}

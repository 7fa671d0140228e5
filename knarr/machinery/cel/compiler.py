"""From a tree to a program: every part is checked against types, given a bound of what it costs, and made a Python function.

What is wrong with an expression is said when it is compiled; what is wrong with values, when it is evaluated. While it is evaluated it
counts what it costs, and stops at a limit: nothing that a caller sends decides how long it takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from knarr.machinery.cel import syntax, values
from knarr.machinery.cel.errors import CostExceeded, EvaluationError, InvalidExpression
from knarr.machinery.cel.functions import Overload, one
from knarr.machinery.cel.kubernetes import KUBERNETES
from knarr.machinery.cel.standard import STANDARD
from knarr.machinery.cel.syntax import Call, Index, Literal, MakeList, MakeMap, Name, Node, Select
from knarr.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    INT,
    NULL,
    STRING,
    TYPE,
    UINT,
    Type,
    assignable,
    bound_type,
    is_variable,
    join,
    list_of,
    map_of,
    optional_of,
)
from knarr.machinery.cel.values import NONE, Optional, UInt

MOST_COST = 2**63
# An evaluation takes no longer, whatever it costs; after so many units it is looked at the clock.
RUN_SECONDS, LOOK_COST = 1.0, 10_000
LIST_COST, MAP_COST, STEP_COST = 10, 30, 3
LITERALS = {"null": NULL, "bool": BOOL, "int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES}
OPERATORS = {"_&&_", "_||_", "_?_:_", "!_"}
SYMBOLS = {"_in_": "@in"}


def _table(this: Mapping[str, list[Overload]], other: Mapping[str, list[Overload]]) -> dict[str, list[Overload]]:
    return {name: [*this.get(name, ()), *other.get(name, ())] for name in {*this, *other}}


FUNCTIONS, METHODS = _table(STANDARD.functions, KUBERNETES.functions), _table(STANDARD.methods, KUBERNETES.methods)
NAMESPACES = {name.partition(".")[0] for name in FUNCTIONS if "." in name}
TYPE_NAMES = ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type")


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


def compile_expression(source: str, variables: Mapping[str, Type]) -> Program:
    """Raises InvalidExpression."""
    compiler = _Compiler(variables)
    part = compiler.part(syntax.parse(source))
    return Program(part.type, min(part.cost, MOST_COST), frozenset(compiler.used), part.run)


class _Compiler:
    def __init__(self, variables: Mapping[str, Type]) -> None:
        self._scope: dict[str, Type] = dict(variables)
        self._outer = frozenset(variables)
        self.used: set[str] = set()

    def part(self, node: Node) -> Part:
        match node:
            case Literal():
                return _literal(node)
            case Name():
                return self._name(node)
            case Select():
                return self._select(node)
            case Index():
                return self._index(node)
            case MakeList():
                return self._list(node)
            case MakeMap():
                return self._map(node)
            case Call():
                return self._call(node)
        raise InvalidExpression("unsupported expression", node.position)

    def _name(self, node: Name) -> Part:
        name, found = node.name, self._scope.get(node.name)
        if found is None:
            if name in TYPE_NAMES:
                return Part(TYPE, lambda evaluation: name, 1)
            raise InvalidExpression(f"undeclared reference to '{name}' (in container '')", node.position)
        if name in self._outer:
            self.used.add(name)

        def run(evaluation: Evaluation) -> Any:
            evaluation.cost += 1
            return evaluation.variables[name]

        return Part(found, run, 1)

    # Fields, elements and entries.

    def _field(self, operand: Type, name: str, position: int) -> tuple[str, Type]:
        """The name of a field in JSON, and its type."""
        if operand.fields is not None:
            found = operand.fields.get(name)
            if found is None:
                raise InvalidExpression(f"undefined field '{name}'", position)
            return found.name, found.type
        if operand.name == "map":
            return name, operand.parameters[1]
        if operand == DYN:
            return name, DYN
        raise InvalidExpression(f"type '{operand}' does not support field selection", position)

    def _select(self, node: Select) -> Part:
        operand = self.part(node.operand)
        through = operand.type.name == "optional_type"
        inner = operand.type.parameters[0] if through else operand.type
        name, found = self._field(inner, node.field, node.position)
        of = operand.run

        def run(evaluation: Evaluation) -> Any:
            value = of(evaluation)
            evaluation.cost += 1
            if type(value) is dict and name in value:
                return value[name]
            raise EvaluationError(f"no such key: {node.field}") if isinstance(value, dict) else EvaluationError("no such overload")

        def try_run(evaluation: Evaluation) -> Any:
            value = of(evaluation)
            evaluation.cost += 1
            if isinstance(value, Optional):
                if not value.present:
                    return NONE
                value = value.value
            return Optional(True, value[name]) if isinstance(value, dict) and name in value else NONE

        if node.optional or through:
            return Part(found if found.name == "optional_type" else optional_of(found), try_run, operand.cost + 1)
        return Part(found, run, operand.cost + 1)

    def _index(self, node: Index) -> Part:
        operand, index = self.part(node.operand), self.part(node.index)
        through = operand.type.name == "optional_type"
        inner = operand.type.parameters[0] if through else operand.type
        if inner.name == "map":
            found = inner.parameters[1]
            fits = assignable(inner.parameters[0], index.type, {})
        elif inner.name == "list":
            found, fits = inner.parameters[0], index.type.name in ("int", "uint", "double", "dyn")
        else:
            found, fits = DYN, inner == DYN
        if not fits:
            raise InvalidExpression(f"found no matching overload for '_[_]' applied to '({operand.type}, {index.type})'", node.position)
        of, at, lenient = operand.run, index.run, node.optional or through

        def run(evaluation: Evaluation) -> Any:
            value, key = of(evaluation), at(evaluation)
            evaluation.cost += 1
            if isinstance(value, Optional):
                if not value.present:
                    return NONE
                value = value.value
            try:
                got = _element(value, key)
            except EvaluationError:
                if lenient:
                    return NONE
                raise
            return Optional(True, got) if lenient else got

        return Part(optional_of(found) if lenient else found, run, operand.cost + index.cost + 1)

    # What is made.

    def _list(self, node: MakeList) -> Part:
        parts = [(self.part(item), optional) for item, optional in node.items]
        element: Type | None = None
        for part, optional in parts:
            found = part.type.parameters[0] if optional and part.type.name == "optional_type" else part.type
            element = found if element is None else join(element, found)
        runs = [(part.run, optional) for part, optional in parts]

        def run(evaluation: Evaluation) -> Any:
            evaluation.charge(LIST_COST)
            made = []
            for item, optional in runs:
                value = item(evaluation)
                if not optional:
                    made.append(value)
                elif value.present:
                    made.append(value.value)
            return made

        return Part(list_of(element or DYN, len(parts)), run, LIST_COST + sum(part.cost for part, _ in parts))

    def _map(self, node: MakeMap) -> Part:
        parts = [(self.part(key), self.part(value), optional) for key, value, optional in node.entries]
        keys: Type | None = None
        found: Type | None = None
        for key, value, optional in parts:
            inner = value.type.parameters[0] if optional and value.type.name == "optional_type" else value.type
            keys = key.type if keys is None else join(keys, key.type)
            found = inner if found is None else join(found, inner)

        def run(evaluation: Evaluation) -> Any:
            evaluation.charge(MAP_COST)
            made: dict[Any, Any] = {}
            for key, value, optional in parts:
                name, item = key.run(evaluation), value.run(evaluation)
                if name is None or isinstance(name, list | dict | float | bytes):
                    raise EvaluationError("unsupported key type")
                if optional:
                    if not item.present:
                        continue
                    item = item.value
                made[name] = item
            return made

        cost = MAP_COST + sum(key.cost + value.cost for key, value, _ in parts)
        return Part(map_of(keys or DYN, found or DYN, len(parts)), run, cost)

    # Functions.

    def _call(self, node: Call) -> Part:
        name, target = node.function, node.target
        if name in OPERATORS:
            return getattr(self, _LOGIC[name])(node)  # type: ignore[no-any-return]
        if target is None and name == "has":
            return self._has(node)
        if target is not None:
            if isinstance(target, Name) and target.name not in self._scope:
                if target.name == "cel" and name == "bind":
                    return self._bind(node)
                if target.name in NAMESPACES and f"{target.name}.{name}" in FUNCTIONS:
                    return self._apply(f"{target.name}.{name}", FUNCTIONS, node.arguments, node)
            macro = _MACROS.get((name, len(node.arguments)))
            if macro is not None:
                return getattr(self, macro)(node)  # type: ignore[no-any-return]
            return self._apply(name, METHODS, (target, *node.arguments), node)
        return self._apply(name, FUNCTIONS, node.arguments, node)

    def _apply(self, name: str, table: Mapping[str, list[Overload]], arguments: tuple[Node, ...], node: Call) -> Part:
        overloads = table.get(name)
        if overloads is None:
            raise InvalidExpression(f"undeclared reference to '{name}' (in container '')", node.position)
        parts = [self.part(argument) for argument in arguments]
        matching: list[tuple[Overload, Type]] = []
        for overload in overloads:
            bound: dict[str, Type] = {}
            if len(overload.parameters) == len(parts) and all(
                assignable(wanted, part.type, bound) for wanted, part in zip(overload.parameters, parts, strict=True)
            ):
                matching.append((overload, bound_type(overload.result, bound)))
        if not matching:
            shown = [str(part.type) for part in parts]
            applied = f"'{shown[0]}.({', '.join(shown[1:])})'" if node.target is not None else f"'({', '.join(shown)})'"
            symbol = SYMBOLS.get(name, name)
            raise InvalidExpression(f"found no matching overload for '{symbol}' applied to {applied}", node.position)
        result = matching[0][1]
        for _, other in matching[1:]:
            result = join(result, other)
        sizes = [part.type.size for part in parts]
        cost = sum(part.cost for part in parts) + max(max(1, overload.cost(sizes)) for overload, _ in matching)
        made = [overload.size(sizes) for overload, _ in matching if overload.size is not None]
        if made:
            result = result.sized(max(made))
        return Part(result, _applied([overload for overload, _ in matching], [part.run for part in parts]), cost)

    def _bool(self, node: Node, operator: str) -> Part:
        part = self.part(node)
        if part.type not in (BOOL, DYN):
            raise InvalidExpression(f"found no matching overload for '{operator}' applied to '({part.type})'", node.position)
        return part

    def _not(self, node: Call) -> Part:
        inner = self._bool(node.arguments[0], "!_")
        of = inner.run

        def run(evaluation: Evaluation) -> Any:
            value = of(evaluation)
            evaluation.cost += 1
            if value is True or value is False:
                return not value
            raise EvaluationError("no such overload")

        return Part(BOOL, run, inner.cost + 1)

    def _and(self, node: Call) -> Part:
        return self._either(node, "_&&_", decisive=False)

    def _or(self, node: Call) -> Part:
        return self._either(node, "_||_", decisive=True)

    def _either(self, node: Call, operator: str, *, decisive: bool) -> Part:
        left, right = (self._bool(argument, operator) for argument in node.arguments)
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

    def _choice(self, node: Call) -> Part:
        condition = self._bool(node.arguments[0], "_?_:_")
        chosen, other = self.part(node.arguments[1]), self.part(node.arguments[2])
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

    def _has(self, node: Call) -> Part:
        field = node.arguments[0] if len(node.arguments) == 1 else None
        if not isinstance(field, Select) or field.optional:
            raise InvalidExpression("invalid argument to has() macro", node.position)
        operand = self.part(field.operand)
        inner = operand.type.parameters[0] if operand.type.name == "optional_type" else operand.type
        name, _ = self._field(inner, field.field, field.position)
        of = operand.run

        def run(evaluation: Evaluation) -> Any:
            value = of(evaluation)
            evaluation.cost += 1
            if isinstance(value, Optional):
                value = value.value if value.present else {}
            if not isinstance(value, dict):
                raise EvaluationError("no such overload")
            return name in value

        return Part(BOOL, run, operand.cost + 1)

    # Macros.

    def _within(self, names: Mapping[str, Type], body: Callable[[], Part]) -> Part:
        """What is compiled with further variables in sight."""
        before = {name: self._scope.get(name) for name in names}
        outer, self._outer = self._outer, self._outer - set(names)
        self._scope.update(names)
        try:
            return body()
        finally:
            self._outer = outer
            for name, known in before.items():
                if known is None:
                    del self._scope[name]
                else:
                    self._scope[name] = known

    def _loop(self, node: Call, count: int) -> tuple[Part, list[str], dict[str, Type]]:
        """What is gone through, and the variables that stand for its elements, of which there are one or two."""
        assert node.target is not None
        through = self.part(node.target)
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

    def _quantified(self, node: Call) -> Part:
        """all, exists and exists_one, with one variable or two."""
        count = len(node.arguments) - 1
        through, names, types = self._loop(node, count)
        body = self._within(types, lambda: self._bool(node.arguments[-1], "_&&_"))
        cost = through.cost + 1 + through.type.size * (body.cost + STEP_COST)
        return Part(BOOL, _QUANTIFIERS[node.function](through.run, names, body.run), cost)

    def _mapped(self, node: Call) -> Part:
        """map with and without a condition, filter, and their kin with two variables."""
        name = node.function
        count = 2 if name.startswith("transform") else 1
        through, names, types = self._loop(node, count)
        has_condition = name == "filter" or len(node.arguments) == count + 2
        condition = self._within(types, lambda: self._bool(node.arguments[count], "_?_:_")) if has_condition else None
        step = None if name == "filter" else self._within(types, lambda: self.part(node.arguments[-1]))
        each = (condition.cost if condition else 0) + (step.cost if step else 0) + STEP_COST + LIST_COST
        cost = through.cost + LIST_COST + through.type.size * each
        if name == "transformMap":
            keys = through.type.parameters[0] if through.type.name == "map" else INT
            found = map_of(keys, step.type if step else DYN, through.type.size)
        else:
            found = list_of(step.type if step else through.type.element, through.type.size)
        runs = condition.run if condition else None, step.run if step else None
        return Part(found, _mapping(through.run, names, *runs, as_map=name == "transformMap"), cost)

    def _bind(self, node: Call) -> Part:
        if len(node.arguments) != 3 or not isinstance(node.arguments[0], Name):
            raise InvalidExpression("cel.bind() variable names must be simple identifiers", node.position)
        name, value = node.arguments[0].name, self.part(node.arguments[1])
        body = self._within({name: value.type}, lambda: self.part(node.arguments[2]))

        def run(evaluation: Evaluation) -> Any:
            return _with(evaluation, [name], [value.run(evaluation)], body.run)

        return Part(body.type, run, value.cost + body.cost + 1)

    def _optional_map(self, node: Call) -> Part:
        assert node.target is not None
        of = self.part(node.target)
        if of.type.name not in ("optional_type", "dyn") or not isinstance(node.arguments[0], Name):
            raise InvalidExpression(f"{node.function}() variable name must be a simple identifier", node.position)
        name, flat = node.arguments[0].name, node.function == "optFlatMap"
        inner = of.type.parameters[0] if of.type.parameters else DYN
        body = self._within({name: inner}, lambda: self.part(node.arguments[1]))

        def run(evaluation: Evaluation) -> Any:
            value = of.run(evaluation)
            evaluation.charge(1)
            if not isinstance(value, Optional):
                raise EvaluationError("no such overload")
            if not value.present:
                return NONE
            found = _with(evaluation, [name], [value.value], body.run)
            return found if flat else Optional(True, found)

        return Part(body.type if flat else optional_of(body.type), run, of.cost + body.cost + 1)


_LOGIC = {"_&&_": "_and", "_||_": "_or", "_?_:_": "_choice", "!_": "_not"}
_MACROS = {
    **{(name, count): "_quantified" for name in ("all", "exists", "exists_one", "existsOne") for count in (2, 3)},
    **{("map", count): "_mapped" for count in (2, 3)},
    ("filter", 2): "_mapped",
    **{(name, count): "_mapped" for name in ("transformList", "transformMap") for count in (3, 4)},
    ("optMap", 2): "_optional_map",
    ("optFlatMap", 2): "_optional_map",
}


def _literal(node: Literal) -> Part:
    found, value = LITERALS[node.sort], UInt(node.value) if node.sort == "uint" else node.value
    if node.sort == "int" and not -values.INT_MOST - 1 <= node.value <= values.INT_MOST:
        raise InvalidExpression("invalid int literal", node.position)
    if isinstance(value, str | bytes):
        found = found.sized(len(value))
    return Part(found, lambda evaluation: value, 0)


def _element(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        try:
            return value[key]
        except (KeyError, TypeError):
            raise EvaluationError(f"no such key: {key}") from None
    if isinstance(value, list) and values.is_number(key) and key == int(key):
        if not 0 <= key < len(value):
            raise EvaluationError(f"index out of bounds: {int(key)}")
        return value[int(key)]
    raise EvaluationError("no such overload")


def size_of(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | dict) else 1


def _fits(wanted: Type, value: Any) -> bool:
    """Whether a value, whose type is only known now, may be an argument."""
    return wanted == DYN or is_variable(wanted) or values.type_name(value) == wanted.name


def _applied(overloads: list[Overload], arguments: list[Run]) -> Run:
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


def _with(evaluation: Evaluation, names: list[str], given: list[Any], body: Run) -> Any:
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


_QUANTIFIERS: dict[str, Callable[[Run, list[str], Run], Run]] = {
    "all": _every,
    "exists": _some,
    "exists_one": _exactly_one,
    "existsOne": _exactly_one,
}


def _mapping(through: Run, names: list[str], condition: Run | None, step: Run | None, *, as_map: bool) -> Run:
    def run(evaluation: Evaluation) -> Any:
        evaluation.charge(LIST_COST)
        made: list[tuple[Any, Any]] = []
        for item in _rounds(evaluation, through, names):
            if condition is not None and condition(evaluation) is not True:
                continue
            evaluation.charge(LIST_COST)
            made.append((item[0], step(evaluation) if step is not None else item[-1]))
        return dict(made) if as_map else [value for _, value in made]

    return run

"""From a tree to a program: every part is checked against types, given a bound of what it costs, and made a Python function.

What is wrong with an expression is said when it is compiled; what is wrong with values, when it is evaluated. While it is evaluated it
counts what it costs, and stops at a limit: nothing that a caller sends decides how long it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from knarr.machinery.cel import syntax, values
from knarr.machinery.cel.application import applied
from knarr.machinery.cel.authorization import AUTHORIZATION
from knarr.machinery.cel.errors import EvaluationError, InvalidExpression
from knarr.machinery.cel.functions import Overload
from knarr.machinery.cel.kubernetes import KUBERNETES
from knarr.machinery.cel.logic import OPERATORS, has_
from knarr.machinery.cel.macros import MACROS, bind
from knarr.machinery.cel.program import LIST_COST, MAP_COST, MOST_COST, OBJECT_COST, Evaluation, Part, Program
from knarr.machinery.cel.standard import STANDARD
from knarr.machinery.cel.syntax import RESERVED, Call, Index, Literal, MakeList, MakeMap, MakeObject, Name, Node, Select
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
    join,
    list_of,
    map_of,
    optional_of,
)
from knarr.machinery.cel.values import NONE, MadeObject, Optional, UInt

LITERALS = {"null": NULL, "bool": BOOL, "int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES}
SYMBOLS = {"_in_": "@in"}


def _table(this: Mapping[str, list[Overload]], other: Mapping[str, list[Overload]]) -> dict[str, list[Overload]]:
    return {name: [*this.get(name, ()), *other.get(name, ())] for name in {*this, *other}}


FUNCTIONS = _table(STANDARD.functions, KUBERNETES.functions)
METHODS = _table(_table(STANDARD.methods, KUBERNETES.methods), AUTHORIZATION.methods)
NAMESPACES = {name.partition(".")[0] for name in FUNCTIONS if "." in name}
# The types of what mutations make: an object, whose parts are called after their fields, and an operation of a patch.
MADE, PATCH = "Object", Type("JSONPatch", size=1)
PATCH_FIELDS = {"op": STRING, "path": STRING, "from": STRING, "value": DYN}
TYPE_NAMES = ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type")


def compile_expression(source: str, variables: Mapping[str, Type], *, makes_objects: bool = False) -> Program:
    """``makes_objects``: it may make those of Kubernetes' mutations, ``Object.spec{…}`` and ``JSONPatch{…}``. Raises InvalidExpression."""
    compiler = Compiler(variables, makes_objects=makes_objects)
    part = compiler.part(syntax.parse(source))
    return Program(part.type, min(part.cost, MOST_COST), frozenset(compiler.used), part.run)


class Compiler:
    def __init__(self, variables: Mapping[str, Type], *, makes_objects: bool = False) -> None:
        self._makes_objects = makes_objects
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
            case MakeObject():
                return self._object(node)
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

    def field(self, operand: Type, name: str, position: int) -> tuple[str, Type]:
        """The name of a field in JSON, and its type."""
        if operand.fields is not None:
            found = operand.fields.get(name)
            if found is None and name in RESERVED:
                # Also as it stands in the schema, as newer Kubernetes lets it be written: `metadata.namespace`.
                found = operand.fields.get(f"__{name}__")
            if found is None:
                raise InvalidExpression(f"undefined field '{name}'", position)
            return found.name, found.type
        if operand.name == "map":
            return name, operand.parameters[1]
        if operand == DYN or operand.name.partition(".")[0] == MADE:
            return name, DYN
        raise InvalidExpression(f"type '{operand}' does not support field selection", position)

    def _select(self, node: Select) -> Part:
        operand = self.part(node.operand)
        through = operand.type.name == "optional_type"
        inner = operand.type.parameters[0] if through else operand.type
        name, found = self.field(inner, node.field, node.position)
        of = operand.run

        def run(evaluation: Evaluation) -> Any:
            value = of(evaluation)
            evaluation.cost += 1
            if type(value) is dict and name in value:
                return value[name]
            return _looked(value, name, evaluation)

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

    def _object(self, node: MakeObject) -> Part:
        """Of the types of mutations, whose fields are those of whatever object there is."""
        root = node.name.partition(".")[0]
        if not self._makes_objects or root not in (MADE, PATCH.name):
            raise InvalidExpression(f"undeclared reference to '{node.name}' (in container '')", node.position)
        parts = [(name, self.part(value), optional) for name, value, optional in node.fields]
        if node.name == PATCH.name:
            for name, part, _ in parts:
                if name not in PATCH_FIELDS:
                    raise InvalidExpression(f"undefined field '{name}'", node.position)
                if not assignable(PATCH_FIELDS[name], part.type, {}):
                    words = f"expected type of field '{name}' is '{PATCH_FIELDS[name]}' but provided type is '{part.type}'"
                    raise InvalidExpression(words, node.position)

        def run(evaluation: Evaluation) -> Any:
            evaluation.charge(OBJECT_COST)
            made = MadeObject(node.name)
            for name, part, optional in parts:
                value = part.run(evaluation)
                if optional:
                    if not value.present:
                        continue
                    value = value.value
                made[name] = value
            return made

        return Part(PATCH if node.name == PATCH.name else Type(node.name), run, OBJECT_COST + sum(part.cost for _, part, _ in parts))

    # Functions.

    def _call(self, node: Call) -> Part:
        name, target = node.function, node.target
        if name in OPERATORS:
            return OPERATORS[name](self, node)
        if target is None and name == "has":
            return has_(self, node)
        if target is not None:
            if isinstance(target, Name) and target.name not in self._scope:
                if target.name == "cel" and name == "bind":
                    return bind(self, node)
                if target.name in NAMESPACES and f"{target.name}.{name}" in FUNCTIONS:
                    return self._apply(f"{target.name}.{name}", FUNCTIONS, node.arguments, node)
            macro = MACROS.get((name, len(node.arguments)))
            if macro is not None:
                return macro(self, node)
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
            operands = f"'{shown[0]}.({', '.join(shown[1:])})'" if node.target is not None else f"'({', '.join(shown)})'"
            symbol = SYMBOLS.get(name, name)
            raise InvalidExpression(f"found no matching overload for '{symbol}' applied to {operands}", node.position)
        result = matching[0][1]
        for _, other in matching[1:]:
            result = join(result, other)
        types = [part.type for part in parts]
        cost = sum(part.cost for part in parts) + max(max(1, overload.most(types)) for overload, _ in matching)
        sizes = [found.size for found in types]
        made = [overload.size(sizes) for overload, _ in matching if overload.size is not None]
        if made:
            result = result.sized(max(made))
        return Part(result, applied([overload for overload, _ in matching], [part.run for part in parts]), cost)

    def boolean(self, node: Node, operator: str) -> Part:
        part = self.part(node)
        if part.type not in (BOOL, DYN):
            raise InvalidExpression(f"found no matching overload for '{operator}' applied to '({part.type})'", node.position)
        return part

    # What is in sight.

    def within(self, names: Mapping[str, Type], body: Callable[[], Part]) -> Part:
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


def _looked(value: Any, name: str, evaluation: Evaluation) -> Any:
    """A field of what is no plain map. Raises EvaluationError."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        raise EvaluationError(f"no such key: {name}")
    if (look := getattr(value, "cel_look", None)) is not None:
        return look(name, evaluation)
    raise EvaluationError("no such overload")


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

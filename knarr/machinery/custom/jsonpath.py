"""The part of kubectl's JSONPath that definitions use: fields, elements, slices, ``*`` and filters that compare a field with a literal.

A path is parsed once. Missing fields are no error: nothing is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

# One step: from values to values.
Step = Callable[[Iterable[Any]], Iterator[Any]]

MAX_PATH_LETTERS = 1024
# So many values of one path are looked at.
MAX_VALUES = 10_000

_TOKEN = re.compile(
    r"""\.\.(?P<deep>[\w-]+|\*)
    | \.(?P<field>(?:\\.|[^.\[\]\\'"\s])+)
    | \[(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\]
    | \[(?P<slice>-?\d*(?::-?\d*){0,2})\]
    | \[(?P<all>\*)\]
    | \[\?\(\s*@(?P<operand>(?:\.(?:\\.|[^.\[\]\\'"\s=!<>)])+)*)\s*
        (?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<literal>'[^']*'|"[^"]*"|[^\s)]+)\s*)?\)\]
    """,
    re.VERBOSE,
)
_SIMPLE = re.compile(r"(?:\.(?:\\.|[^.\[\]\\'\"\s])+)+")


def is_simple(path: str) -> bool:
    """Whether a path names one field, through objects only."""
    return len(path) <= MAX_PATH_LETTERS and _SIMPLE.fullmatch(path) is not None


def fields_of(path: str) -> list[str]:
    """The names on a simple path."""
    return [_plain(name) for name in re.findall(r"\.((?:\\.|[^.\\])+)", path)]


class JsonPath:
    """Raises ValueError for a path that cannot be understood."""

    def __init__(self, path: str) -> None:
        self.text = path
        self._steps = list(_steps(path))

    def find(self, value: Any) -> list[Any]:
        """What the path leads to, in order."""
        found: Iterable[Any] = (value,)
        for step in self._steps:
            found = list(_first(step(found)))
        return list(found)


def _first(values: Iterator[Any]) -> Iterator[Any]:
    for _, value in zip(range(MAX_VALUES), values, strict=False):
        yield value


def _steps(path: str) -> Iterator[Step]:
    if len(path) > MAX_PATH_LETTERS:
        raise ValueError(f"a path may have {MAX_PATH_LETTERS} letters at most")
    position = 0
    path = path if path.startswith((".", "[")) else f".{path}"
    if path == ".":
        return
    while position < len(path):
        token = _TOKEN.match(path, position)
        if token is None:
            raise ValueError(f"unrecognized path: {path[position:]}")
        yield _step(token)
        position = token.end()


def _step(token: re.Match[str]) -> Step:
    if (field := token["field"]) is not None:
        return _children if field == "*" else _field(_plain(field))
    if token["quoted"] is not None:
        return _field(_plain(token["quoted"][1:-1]))
    if token["all"] is not None:
        return _children
    if token["deep"] is not None:
        return _deep(token["deep"])
    if token["operand"] is not None:
        return _filter(fields_of(token["operand"]), token["operator"], token["literal"])
    return _slice(token["slice"])


def _plain(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def _field(name: str) -> Step:
    return lambda values: (value[name] for value in values if isinstance(value, dict) and name in value)


def _children(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, list):
            yield from value


def _deep(name: str) -> Step:
    def step(values: Iterable[Any]) -> Iterator[Any]:
        left = list(values)[::-1]
        while left:
            value = left.pop()
            if isinstance(value, dict):
                yield from value.values() if name == "*" else ([value[name]] if name in value else [])
            left += [*_children((value,))][::-1]

    return step


def _slice(text: str) -> Step:
    if ":" not in text:
        # As kubectl reads it, nothing between the brackets is the first element.
        index = int(text or 0)
        return lambda values: (value[index] for value in values if isinstance(value, list) and -len(value) <= index < len(value))
    start, stop, step = ([int(part) if part.strip() else None for part in text.split(":")] + [None])[:3]
    if step is not None and step <= 0:
        raise ValueError("a step must be greater than 0")
    return lambda values: (item for value in values if isinstance(value, list) for item in value[start:stop:step])


def _filter(names: list[str], operator: str | None, literal: str | None) -> Step:
    wanted = _literal(literal) if literal is not None else None

    def holds(item: Any) -> bool:
        for name in names:
            if not isinstance(item, dict) or name not in item:
                return False
            item = item[name]
        return True if operator is None else _compares(item, operator, wanted)

    return lambda values: (item for value in values if isinstance(value, list) for item in value if holds(item))


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    return float(text)


def _compares(value: Any, operator: str, wanted: Any) -> bool:
    same_sort = isinstance(value, str) == isinstance(wanted, str) and isinstance(value, bool) == isinstance(wanted, bool)
    if operator in ("==", "!="):
        return (same_sort and value == wanted) == (operator == "==")
    if not same_sort or not isinstance(value, str | int | float):
        return False
    if operator[0] == "<":
        return bool(value < wanted or (operator == "<=" and value == wanted))
    return bool(value > wanted or (operator == ">=" and value == wanted))


def text_of(value: Any) -> str:
    """A value as Go prints it into a column."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return str(value)

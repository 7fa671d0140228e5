"""A set of fields, in the form that ``managedFields`` has it: a tree of path elements.

A node is a dictionary from path element to node. A node that is empty, or has the element ``.``, is in the set itself; the root never is,
and an empty root is the empty set. Path elements are text: ``f:name`` a field, ``k:{…}`` a list's element by its keys, ``v:…`` an element
of a set, ``i:…`` one by its place. Trees are shared between sets: no function changes one that it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from knarr.machinery import budget
from knarr.machinery.errors import StatusError

Fields = dict[str, Any]

# A longer text is read anew each time.
REMEMBERED_BYTES = 1024

SELF = "."
EMPTY: Fields = {}
_MEMBER: Fields = {}


def is_member(node: Fields) -> bool:
    """Whether a node (not a root) is in the set itself."""
    return not node or SELF in node


def node_of(member: bool, children: Fields) -> Fields | None:
    """A node from its parts; None when there is nothing to it."""
    if not children:
        return _MEMBER if member else None
    return {SELF: _MEMBER, **children} if member else children


def union(one: Fields, other: Fields) -> Fields:
    """What is in either set."""
    if not other or one is other:
        return one
    return _united(one, other) if one else other


def _united(one: Fields, other: Fields) -> Fields:
    result = dict(one)
    for element, node in other.items():
        before = result.get(element)
        if before is None:
            result[element] = node
        elif before is not node and element != SELF:
            if not before or not node:
                result[element] = node_of(True, {**before, **node}) or _MEMBER
            else:
                result[element] = _united(before, node)
    return result


def intersection(one: Fields, other: Fields) -> Fields:
    """What is in both sets."""
    result: Fields = {}
    for element, node in one.items():
        also = other.get(element)
        if also is not None and element != SELF:
            common = node_of(is_member(node) and is_member(also), intersection(node, also))
            if common is not None:
                result[element] = common
    return result


def difference(one: Fields, other: Fields) -> Fields:
    """What is in ``one`` and not in ``other``. Fields below one that is in ``other`` stay: a parent and its children are told apart."""
    if not other:
        return one
    result: Fields = {}
    for element, node in one.items():
        if element == SELF:
            continue
        without = other.get(element)
        if without is None:
            result[element] = node
        else:
            rest = node_of(is_member(node) and not is_member(without), difference(node, without) if without else _children(node))
            if rest is not None:
                result[element] = rest
    return result


def _children(node: Fields) -> Fields:
    return {element: below for element, below in node.items() if element != SELF}


def excluding(one: Fields, other: Fields) -> Fields:
    """``one`` without the fields of ``other`` and all that is below them."""
    if not other:
        return one
    result: Fields = {}
    for element, node in one.items():
        if element == SELF:
            continue
        without = other.get(element)
        if without is None:
            result[element] = node
        elif not is_member(without):
            rest = node_of(is_member(node), excluding(node, without))
            if rest is not None:
                result[element] = rest
    return result


def has(fields: Fields, path: tuple[str, ...]) -> bool:
    """Whether the field at a path is in the set."""
    node: Fields | None = fields
    for element in path:
        node = node.get(element) if node is not None else None
    return bool(path) and node is not None and is_member(node)


def of_path(*path: str) -> Fields:
    """The set of one field."""
    node: Fields = _MEMBER
    for element in reversed(path):
        node = {element: node}
    return node


def paths(fields: Fields) -> Iterator[tuple[str, ...]]:
    """The paths of all fields in a set, in order: what is at one level before what is below it."""
    ordered = sorted((element for element in fields if element != SELF), key=order)
    for element in ordered:
        if is_member(fields[element]):
            yield (element,)
    for element in ordered:
        for below in paths(fields[element]):
            yield (element, *below)


def spoken(path: tuple[str, ...]) -> str:
    """A path as people are told it: ``.spec.containers[name="app"].image``."""
    return "".join(map(spoken_element, path))


def spoken_element(element: str) -> str:
    sort, text = element[:2], element[2:]
    if sort == "f:":
        return f".{text}"
    if sort == "i:":
        return f"[{text}]"
    value = orjson.loads(text)
    if sort == "v:":
        return f"[={_spoken_value(value)}]"
    return "[" + ",".join(f"{name}={_spoken_value(value[name])}" for name in sorted(value)) + "]"


def _spoken_value(value: Any) -> str:
    """As Kubernetes writes it, which puts nothing around a map."""
    if isinstance(value, dict):
        return "".join(f"{name}={_spoken_value(value[name])}" for name in sorted(value))
    if isinstance(value, list):
        return "[" + ",".join(map(_spoken_value, value)) + "]"
    return orjson.dumps(value).decode()


def order(element: str) -> tuple[Any, ...]:
    """The order of path elements: fields, then keys, values and places; numbers by their size."""
    sort, text = element[:2], element[2:]
    if sort == "f:":
        return 0, text
    value = orjson.loads(text)
    if sort == "k:":
        return 1, [(name, _rank(value[name])) for name in sorted(value)]
    return 2 if sort == "v:" else 3, _rank(value)


def _rank(value: Any) -> tuple[int, Any]:
    """A place in the order of values of several types."""
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (3, orjson.dumps(value))


def encode(fields: Fields) -> bytes:
    """The set as FieldsV1 has it; equal for equal sets."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def decode(raw: bytes) -> Fields:
    """Reads FieldsV1; raises ValueError for what is none. Path elements of a sort that is not known are left out, as in Kubernetes."""
    return _remembered(raw) if len(raw) <= REMEMBERED_BYTES else _decode(raw)


def _decode(raw: bytes) -> Fields:
    if not raw:
        return EMPTY
    try:
        found = orjson.loads(raw)
        budget.check(found, raw)
    except (orjson.JSONDecodeError, StatusError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, dict):
        raise ValueError("no object")
    found.pop(SELF, None)
    return _checked(found)


# What is small is written again and again by the same managers: leases, conditions.
_remembered = lru_cache(maxsize=128)(_decode)


def _checked(node: Fields) -> Fields:
    result: Fields = {}
    for element, below in node.items():
        if not isinstance(below, dict):
            if element == SELF:
                result[SELF] = _MEMBER
                continue
            raise ValueError(f"{element}: no object")
        if element == SELF:
            result[SELF] = _MEMBER
        elif element.startswith("f:"):
            result[element] = _checked(below) if below else below
        elif element[1:2] == ":":
            text = _canonical(element)
            if text is not None:
                result[text] = _checked(below)
        else:
            raise ValueError(f"{element}: missing colon")
    return {} if len(result) == 1 and SELF in result else result


def _canonical(element: str) -> str | None:
    """One spelling for each path element; None for a sort that is not known."""
    sort, text = element[:2], element[2:]
    if sort not in ("k:", "v:", "i:"):
        return None
    value = orjson.loads(text)
    if (sort == "k:" and not isinstance(value, dict)) or (sort == "i:" and type(value) is not int):
        raise ValueError(f"{element}: no such path element")
    return sort + spelled(value)


def _whole(value: Any) -> Any:
    """A number without a fraction is spelled without one, where it has no more than 64 bits."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


def spelled(value: Any) -> str:
    """The text of a key or value in a path element."""
    value = {name: _whole(item) for name, item in value.items()} if isinstance(value, dict) else _whole(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

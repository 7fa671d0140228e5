"""The fields of a value: those that it mentions, and all that it consists of."""

from __future__ import annotations

from typing import Any

from knarr.machinery.fieldsets.elements import indexed
from knarr.machinery.fieldsets.fields import SELF, Fields, node_of
from knarr.machinery.fieldsets.shape import Shape

_MEMBER: Fields = {}


def everything(shape: Shape, value: Any) -> Fields:
    """The node of a value that is new as a whole: each of its fields, lists and maps included."""
    shape = shape.of(value)
    if not value or shape.is_leaf:
        return _MEMBER
    node: Fields = {SELF: _MEMBER}
    element = shape.element
    if isinstance(value, dict):
        fields = shape.fields
        for name, item in value.items():
            below = fields.get(name) or element
            node["f:" + name] = _MEMBER if not item or below is None or below.is_leaf else everything(below, item)
    elif isinstance(value, list) and element is not None:
        for path_element, items in indexed(shape, value).items():
            node[path_element] = everything(element, items[0]) if len(items) == 1 else _MEMBER
    return node


def mentioned(shape: Shape, value: Any) -> Fields:
    """The set of the fields that whoever applies ``value`` wants to own: its leaves, the elements of its lists, the keys of its maps."""
    return _parts(shape, value)[1]


def _parts(shape: Shape, value: Any) -> tuple[bool, Fields]:
    """Whether a value is a leaf, and what is below it."""
    shape = shape.of(value)
    if shape.is_leaf:
        return True, _MEMBER
    children: Fields = {}
    if shape.sort == "map":
        if isinstance(value, dict):
            for name, item in value.items():
                declared = shape.fields.get(name)
                below = declared or shape.element
                if below is None:
                    continue
                leaf, inner = _parts(below, item)
                node = node_of(leaf or item is None or item == {} or declared is None, inner)
                if node is not None:
                    children["f:" + name] = node
    elif isinstance(value, list):
        assert shape.element is not None
        for path_element, items in indexed(shape, value).items():
            inner = _parts(shape.element, items[0])[1] if len(items) == 1 else _MEMBER
            children[path_element] = node_of(True, inner) or _MEMBER
    return False, children


def with_named(shape: Shape, fields: Fields) -> Fields:
    """The set with each field of a struct that has members below it: a map's keys and a list's elements are members by themselves only."""
    result: Fields = {}
    for path_element, node in fields.items():
        if path_element == SELF:
            result[SELF] = node
            continue
        below, named = _below(shape, path_element)
        if not node:
            result[path_element] = node
            continue
        inner = with_named(below, node) if below is not None else node
        result[path_element] = {SELF: _MEMBER, **inner} if named else inner
    return result


def reconciled(shape: Shape, fields: Fields) -> Fields:
    """The set as it is where lists and maps of the shape are atomic now: what was owned in parts is owned as a whole."""
    result: Fields | None = None
    for path_element, node in fields.items():
        if not node or path_element == SELF:
            continue
        below, _ = _below(shape, path_element)
        if below is None:
            continue
        changed = _MEMBER if below.atomic else reconciled(below, node)
        if changed is not node:
            result = dict(fields) if result is None else result
            result[path_element] = changed
    return fields if result is None else result


def _below(shape: Shape, path_element: str) -> tuple[Shape | None, bool]:
    """The shape at a path element below ``shape``, and whether that is a field of a struct."""
    if shape.sort == "deduced":
        return (shape, False) if path_element.startswith("f:") else (None, False)
    if path_element.startswith("f:"):
        declared = shape.fields.get(path_element[2:])
        return declared or (shape.element if shape.sort == "map" else None), declared is not None
    return (shape.element if shape.sort == "list" else None), False

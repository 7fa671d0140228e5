"""What becomes of an object when another, with some of its fields, is applied to it; and what is left without some fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.machinery.fieldsets.elements import Unkeyed, element_of, indexed
from knarr.machinery.fieldsets.fields import Fields, is_member
from knarr.machinery.fieldsets.shape import UNTYPED, Shape


def merge(shape: Shape, live: Any, config: Any) -> Any:
    """``live`` with the values of ``config`` in it; nothing goes. What it does not change it shares with both.

    A list goes by the order of ``config`` where that says one, with the other elements where they were.
    """
    shape = shape.of(config if config is not None else live)
    if shape.is_leaf:
        return config
    # Null or empty says nothing of a list or map that has something.
    if not config or not live:
        return config or live or config
    if shape.sort == "map":
        return _maps(shape, live, config) if isinstance(live, dict) and isinstance(config, dict) else config
    return _lists(shape, live, config) if isinstance(live, list) and isinstance(config, list) else config


def _maps(shape: Shape, live: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    result = dict(live)
    for name, value in config.items():
        result[name] = merge(shape.field(name) or UNTYPED, live[name], value) if name in live else value
    return result


def _lists(shape: Shape, live: list[Any], config: list[Any]) -> list[Any]:
    element = shape.element
    assert element is not None
    before = indexed(shape, live)
    wanted = {element_of(shape, item): item for item in config}
    places = _places(shape, live)

    def merged(key: str) -> Any:
        # Nobody can say which one of several a key means: they are replaced.
        found = before.get(key, ())
        return merge(element, found[0], wanted[key]) if len(found) == 1 else wanted[key]

    return _arranged([(key, live[place]) for key, place in places], list(wanted), merged)


def _places(shape: Shape, items: list[Any]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for place, item in enumerate(items):
        try:
            found.append((element_of(shape, item), place))
        except Unkeyed:
            # It can be neither meant nor moved.
            found.append((f"#{place}", place))
    return found


def _arranged(live: Sequence[tuple[str, Any]], wanted: Sequence[str], merged: Any) -> list[Any]:
    """The elements of both lists: those that both have in the order of ``wanted``, those of ``live`` alone where they stand beside them."""
    known = {key for key, _ in live}
    names = set(wanted)
    shared = [key for key in wanted if key in known]
    done: set[str] = set()
    result: list[Any] = []
    left = right = met = 0
    while left < len(live) or right < len(wanted):
        following = shared[met] if met < len(shared) else None
        if left < len(live):
            key, item = live[left]
            if right < len(wanted) and key == wanted[right]:
                result.append(merged(key))
                done.add(key)
                left, right, met = left + 1, right + 1, met + 1
                continue
            if right < len(wanted) and key in names and following is not None and following != key:
                left += 1
                continue
            if key not in names:
                result.append(item)
                left += 1
                continue
            if key in done:
                left += 1
        if right < len(wanted):
            key = wanted[right]
            result.append(merged(key))
            done.add(key)
            right += 1
            if following == key:
                met += 1
    return result


def remove(shape: Shape, value: Any, fields: Fields) -> Any:
    """``value`` without the fields of a set; a list or map of which nothing is left is null."""
    shape = shape.of(value)
    if shape.sort == "map" and isinstance(value, dict):
        return None if shape.atomic else _remove_from_map(shape, value, fields) or None
    if shape.sort == "list" and isinstance(value, list):
        return None if shape.atomic else _remove_from_list(shape, value, fields) or None
    return value if shape.sort == "scalar" else None


def _remove_from_map(shape: Shape, value: dict[str, Any], fields: Fields) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, item in value.items():
        node = fields.get("f:" + name)
        if node is None:
            result[name] = item
        elif not is_member(node):
            result[name] = remove(shape.field(name) or UNTYPED, item, node)
    return result


def _remove_from_list(shape: Shape, value: list[Any], fields: Fields) -> list[Any]:
    assert shape.element is not None
    result: list[Any] = []
    for item in value:
        try:
            node = fields.get(element_of(shape, item))
        except Unkeyed:
            node = None
        if node is None:
            result.append(item)
        elif not is_member(node):
            result.append(remove(shape.element, item, node))
    return result

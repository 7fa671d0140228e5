"""Whether a value that is to be applied has the shape of its kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from knarr.machinery.fieldsets.elements import Unkeyed, element_of
from knarr.machinery.fieldsets.fields import spoken_element
from knarr.machinery.fieldsets.shape import Shape

# So many problems are told at once.
MAX_PROBLEMS = 100

_EXPECTED = {"string": "string", "boolean": "boolean", "numeric": "numeric (int or float)"}


def problems(shape: Shape, value: Any) -> list[str]:
    """What is wrong with a value, each with its path, in Kubernetes' words; empty when nothing is."""
    found: list[str] = []
    for path, problem in _problems(shape, value, ""):
        found.append(f"{path}: {problem}" if path else problem)
        if len(found) == MAX_PROBLEMS:
            break
    return found


def _problems(shape: Shape, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if value is None or shape.sort == "deduced":
        return
    if shape.sort == "scalar":
        if not _fits(shape.scalar, value):
            yield path, _misfit(shape.scalar, value)
    elif shape.sort == "list":
        if not isinstance(value, list):
            yield path, f"expected list, got &{{{_go(value)}}}"
        else:
            yield from _in_list(shape, value, path)
    elif not isinstance(value, dict):
        yield path, f"expected map, got &{{{_go(value)}}}"
    else:
        for name, item in value.items():
            below = shape.field(name)
            if below is None:
                yield f"{path}.{name}", "field not declared in schema"
            else:
                yield from _problems(below, item, f"{path}.{name}")


def _in_list(shape: Shape, items: list[Any], path: str) -> Iterator[tuple[str, str]]:
    assert shape.element is not None
    seen: set[str] = set()
    for place, item in enumerate(items):
        if shape.atomic:
            yield from _problems(shape.element, item, f"{path}[{place}]")
            continue
        try:
            element = element_of(shape, item)
        except Unkeyed as error:
            yield path, f"element {place}: {error}"
            return
        text = spoken_element(element)
        if element in seen:
            yield path, f"duplicate entries for key {text}"
        seen.add(element)
        yield from _problems(shape.element, item, path + text)


def _fits(scalar: str, value: Any) -> bool:
    if isinstance(value, bool):
        return scalar in ("boolean", "untyped")
    if isinstance(value, int | float):
        return scalar in ("numeric", "untyped")
    return isinstance(value, str) and scalar in ("string", "untyped")


def _misfit(scalar: str, value: Any) -> str:
    if scalar == "untyped":
        return f"expected any scalar, got &{{{_go(value)}}}"
    if scalar == "numeric":
        sort = {bool: "bool", str: "string", list: "[]interface {}"}.get(type(value), "map[string]interface {}")
        return f"expected {_EXPECTED[scalar]}, got {sort}"
    if scalar == "string":
        return f"expected string, got &value.valueUnstructured{{Value:{_go(value)}}}"
    return f"expected {_EXPECTED[scalar]}, got &{{{_go(value)}}}"


def _go(value: Any) -> str:
    """A short word for a value; of lists and maps only that they are one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{len(value)} elements]"
    return f"map[{len(value)} keys]" if isinstance(value, dict) else str(value)[:100]

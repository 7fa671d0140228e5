"""The elements of a list by their path elements: by keys, or of a set by their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.machinery.fieldsets.fields import spelled
from knarr.machinery.fieldsets.shape import Shape


class Unkeyed(ValueError):
    """An element of a list cannot be told from others; the text says why, in Kubernetes' words."""


def element_of(shape: Shape, item: Any) -> str:
    """The path element of one item of a list that is not atomic; raises Unkeyed."""
    if not shape.keys:
        return _value(item)
    if not isinstance(item, dict):
        what = "a null element" if item is None else "non-map elements"
        raise Unkeyed(f"associative list with keys may not have {what}")
    found: dict[str, Any] = {}
    for key in shape.keys:
        if key in item:
            found[key] = item[key]
        elif key in shape.key_defaults:
            found[key] = shape.key_defaults[key]
    if not found:
        listed = " ".join(f'"{key}"' for key in shape.keys)
        raise Unkeyed(
            f"associative list with keys has an element that omits all key fields [{listed}] "
            "(and doesn't have default values for any key fields)"
        )
    return "k:" + spelled(found)


def _value(item: Any) -> str:
    if isinstance(item, dict):
        raise Unkeyed("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise Unkeyed("not supported: associative list with lists as elements")
    if item is None:
        raise Unkeyed("associative list without keys has an element that's an explicit null")
    return "v:" + spelled(item)


def indexed(shape: Shape, items: Sequence[Any]) -> dict[str, list[Any]]:
    """The items of a list by their path elements, in order of their first; what cannot be told apart is left out.

    Kubernetes has lists whose keys are repeated, such as the environment of a container: those have several items.
    """
    found: dict[str, list[Any]] = {}
    for item in items:
        try:
            found.setdefault(element_of(shape, item), []).append(item)
        except Unkeyed:
            continue
    return found

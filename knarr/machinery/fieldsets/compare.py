"""What tells two objects apart, as sets of fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.elements import indexed
from knarr.machinery.fieldsets.fields import EMPTY, Fields
from knarr.machinery.fieldsets.members import everything
from knarr.machinery.fieldsets.shape import DEDUCED_MAP, UNTYPED, Shape

_MEMBER: Fields = {}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The fields that the newer of two objects lost, has otherwise, and has besides."""

    removed: Fields
    modified: Fields
    added: Fields

    @property
    def is_same(self) -> bool:
        return not (self.removed or self.modified or self.added)

    @property
    def written(self) -> Fields:
        """What the newer object has that the older one had otherwise or not at all."""
        return sets.union(self.modified, self.added)

    def excluding(self, fields: Fields) -> Comparison:
        """Without what is in ``fields``, and below."""
        parts = (self.removed, self.modified, self.added)
        if not any(element in part for part in parts for element in fields):
            return self
        return Comparison(*(sets.excluding(part, fields) for part in parts))


SAME = Comparison(EMPTY, EMPTY, EMPTY)


def compare(shape: Shape, old: Any, new: Any) -> Comparison:
    """Compares two objects of one shape. Null and absent differ, and so do null and empty."""
    if old == new:
        return SAME
    found = _Differences()
    found.of_values(shape, old, new)
    return Comparison(found.removed, found.modified, found.added)


class _Differences:
    """What tells two lists or two maps apart, by their path elements."""

    __slots__ = ("added", "modified", "removed")

    def __init__(self) -> None:
        self.removed: Fields = {}
        self.modified: Fields = {}
        self.added: Fields = {}

    def of_values(self, shape: Shape, old: Any, new: Any) -> None:
        """One of the values may be null."""
        shape = shape.of(new if new is not None else old)
        if shape.sort == "map":
            self._of_maps(shape, old or {}, new or {})
        else:
            self._of_lists(shape, old or [], new or [])

    def _of_maps(self, shape: Shape, old: dict[str, Any], new: dict[str, Any]) -> None:
        for name, before in old.items():
            below = shape.field(name) or UNTYPED
            if name not in new:
                self.removed["f:" + name] = everything(below, before)
            else:
                self._below("f:" + name, below, before, new[name])
        for name, now in new.items():
            if name not in old:
                self.added["f:" + name] = everything(shape.field(name) or UNTYPED, now)

    def _of_lists(self, shape: Shape, old: list[Any], new: list[Any]) -> None:
        assert shape.element is not None
        were, are = indexed(shape, old), indexed(shape, new)
        for element, before in were.items():
            self._items(shape.element, element, before, are.get(element, []))
        for element, now in are.items():
            if element not in were:
                self._items(shape.element, element, [], now)

    def _items(self, shape: Shape, element: str, before: list[Any], now: list[Any]) -> None:
        """Compares what two lists have at one path element, one of them at least; what is repeated there is one leaf."""
        if len(before) == 1 and len(now) == 1:
            self._below(element, shape, before[0], now[0])
        elif len(before) > 1 and len(now) > 1:
            if before != now:
                self.modified[element] = _MEMBER
        else:
            if before:
                self.removed[element] = everything(shape, before[0]) if len(before) == 1 else _MEMBER
            if now:
                self.added[element] = everything(shape, now[0]) if len(now) == 1 else _MEMBER

    def _below(self, element: str, shape: Shape, old: Any, new: Any) -> None:
        """Compares what both objects have at an element."""
        if old == new:
            return
        if _is_leaf(shape, old, new):
            self.modified[element] = _MEMBER
            if shape.sort == "deduced":
                self._of_other_sorts(element, old, new)
            return
        inner = _Differences()
        inner.of_values(shape, old, new)
        if inner.removed:
            self.removed[element] = inner.removed
        if inner.modified:
            self.modified[element] = inner.modified
        if inner.added:
            self.added[element] = inner.added

    def _of_other_sorts(self, element: str, old: Any, new: Any) -> None:
        """What was in a map that is a map no more, and what is in one that was none."""
        if isinstance(old, dict) and old:
            self.removed[element] = {name: node for name, node in everything(DEDUCED_MAP, old).items() if name != sets.SELF}
        if isinstance(new, dict) and new:
            self.added[element] = {name: node for name, node in everything(DEDUCED_MAP, new).items() if name != sets.SELF}


def _is_leaf(shape: Shape, old: Any, new: Any) -> bool:
    """Whether two different values are compared as wholes: by their shape, or because neither has anything in it."""
    if shape.is_leaf:
        return True
    sort = list if shape.sort == "list" else dict
    return not (isinstance(old, sort | None) and isinstance(new, sort | None) and (old or new))

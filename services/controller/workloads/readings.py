"""What is read of objects that are looked at again and again: once of each.

A store replaces its objects and never changes them, so what was read of one holds for as long as it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

M = TypeVar("M")
T = TypeVar("T")


class Readings(Generic[M, T]):
    """What ``read`` answers of shared objects. It must depend on the object alone."""

    def __init__(self, read: Callable[[M], T]) -> None:
        self._read = read
        # By identity, which is the object's own for as long as it is kept here.
        self._known: dict[int, tuple[M, T]] = {}

    def of(self, objects: Iterable[M]) -> list[T]:
        """Of all of them, in their order; others are forgotten."""
        known, read, found = self._known, self._read, dict[int, tuple[M, T]]()
        for obj in objects:
            found[id(obj)] = known.get(id(obj)) or (obj, read(obj))
        self._known = found
        return [reading for _, reading in found.values()]

"""Indexes over a store of objects, declared once as constants of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

M_contra = TypeVar("M_contra", bound=Message, contravariant=True)


@dataclass(frozen=True, slots=True)
class Index(Generic[M_contra]):
    """``keys(obj)`` are the keys under which a store finds an object; ``name`` is unique within the store."""

    name: str
    keys: Callable[[M_contra], Iterable[str]]

    def __str__(self) -> str:
        function = getattr(self.keys, "__qualname__", repr(self.keys))
        return f"{self.name!r} by {getattr(self.keys, '__module__', '?')}.{function}"


class IndexClash(ValueError):
    """A store has another index of the same name."""

    def __init__(self, known: Index[M_contra], other: Index[M_contra]) -> None:
        super().__init__(f"index {other} clashes with index {known} of the same store: give one of them another name")


class IndexMissing(LookupError):
    """A store was asked for an index that nobody added to it."""

    def __init__(self, wanted: Index[M_contra], present: Iterable[Index[M_contra]]) -> None:
        known = ", ".join(sorted(index.name for index in present)) or "none"
        super().__init__(f"the store has no index {wanted} (it has: {known}): whoever reads by it calls add_index with it first")

"""The shape of a JSON value as server-side apply sees it: what is owned field by field, and what only as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

Sort = Literal["scalar", "list", "map", "deduced"]
# What a scalar may be; ``untyped`` is any of them.
Scalar = Literal["string", "numeric", "boolean", "untyped"]


class Shape:
    """One node of a schema; compared by identity, and never changed once it is made.

    ``sort`` says what the value is. A ``deduced`` one is what it turns out to be: an object's fields are deduced in turn, a list is atomic.
    ``atomic``: a list or map that changes hands as a whole; the rest of its shape does not matter then.
    A list that is not atomic is told apart by its ``keys``, or is a set when it has none; ``key_defaults`` are those of absent keys.
    ``element`` is the shape of a list's elements and of a map's values. A struct has ``fields`` instead: a field that is not among them
    does not exist, unless there is an ``element`` too.
    """

    __slots__ = ("_fields", "_fields_of", "atomic", "element", "is_leaf", "key_defaults", "keys", "scalar", "sort")

    def __init__(
        self,
        sort: Sort,
        *,
        scalar: Scalar = "untyped",
        atomic: bool = False,
        keys: tuple[str, ...] = (),
        key_defaults: Mapping[str, Any] | None = None,
        element: Shape | None = None,
        fields: Callable[[], Mapping[str, Shape]] | None = None,
    ) -> None:
        """``fields`` is called when they are first asked for, so that a type may hold itself."""
        self.sort = sort
        self.scalar = scalar
        self.atomic = atomic
        self.keys = tuple(sorted(keys))
        self.key_defaults = key_defaults or {}
        self.element = element
        # Whether any value of it is owned as a whole.
        self.is_leaf = atomic or sort == "scalar"
        self._fields_of = fields
        self._fields: Mapping[str, Shape] | None = None

    @property
    def fields(self) -> Mapping[str, Shape]:
        """The fields of a struct; empty for everything else."""
        if self._fields is None:
            self._fields = self._fields_of() if self._fields_of is not None else {}
        return self._fields

    def field(self, name: str) -> Shape | None:
        """The shape of a field of a struct or of a value in a map; None when there is no such field."""
        return self.fields.get(name) or self.element

    def of(self, value: Any) -> Shape:
        """The shape, settled by a value where it is deduced."""
        if self.sort != "deduced":
            return self
        return DEDUCED_MAP if isinstance(value, dict) else ATOMIC_LIST if isinstance(value, list) else UNTYPED


UNTYPED = Shape("scalar")
STRING = Shape("scalar", scalar="string")
NUMERIC = Shape("scalar", scalar="numeric")
BOOLEAN = Shape("scalar", scalar="boolean")
DEDUCED = Shape("deduced")
DEDUCED_MAP = Shape("map", element=DEDUCED)
ATOMIC_LIST = Shape("list", atomic=True, element=DEDUCED)

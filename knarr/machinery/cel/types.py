"""The types that expressions are checked against. A type also says how large its values may be, which bounds what an expression costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

# No value is larger than the largest body that is read.
MOST = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Type:
    """``parameters`` are of lists (element), maps (key, value) and optionals; ``fields`` of objects, by their name in CEL."""

    name: str
    parameters: tuple[Type, ...] = ()
    fields: Mapping[str, Field] | None = field(default=None, compare=False)
    # Letters, elements or entries at most.
    size: int = field(default=MOST, compare=False)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parameters))})" if self.parameters else self.name

    def sized(self, size: int) -> Type:
        return replace(self, size=max(0, min(size, MOST)))

    @property
    def element(self) -> Type:
        """Of a list its elements, of a map its keys: what a comprehension goes through."""
        return self.parameters[0] if self.parameters else DYN


@dataclass(frozen=True, slots=True)
class Field:
    """``name`` is the field's name in JSON."""

    name: str
    type: Type


DYN, BOOL, INT = Type("dyn"), Type("bool", size=1), Type("int", size=1)
UINT, DOUBLE = Type("uint", size=1), Type("double", size=1)
STRING, BYTES, NULL, TYPE = Type("string"), Type("bytes"), Type("null_type", size=1), Type("type", size=64)
TIMESTAMP, DURATION = Type("google.protobuf.Timestamp", size=32), Type("google.protobuf.Duration", size=32)
QUANTITY, SEMVER, URL = Type("kubernetes.Quantity", size=64), Type("kubernetes.Semver", size=256), Type("kubernetes.URL")
IP, CIDR, FORMAT = Type("net.IP", size=16), Type("net.CIDR", size=16), Type("kubernetes.NamedFormat", size=64)
A, B = Type("<A>"), Type("<B>")


def list_of(element: Type, size: int = MOST) -> Type:
    return Type("list", (element,), size=size)


def map_of(key: Type, value: Type, size: int = MOST) -> Type:
    return Type("map", (key, value), size=size)


def optional_of(inner: Type) -> Type:
    return Type("optional_type", (inner,), size=inner.size)


def object_of(name: str, fields: Mapping[str, Field]) -> Type:
    return Type(name, fields=fields, size=len(fields))


def is_variable(found: Type) -> bool:
    return found.name.startswith("<")


def _is_empty(found: Type) -> bool:
    return found.size == 0 and bool(found.parameters) and all(inner == DYN for inner in found.parameters)


def join(one: Type, other: Type) -> Type:
    """The type of what may be either."""
    for known, found in ((one, other), (other, one)):
        # `[]` and `{}` are of any type of list and map, and have nothing of their own to weigh.
        if known.name == found.name and _is_empty(found):
            return known
    if one.name == other.name and len(one.parameters) == len(other.parameters):
        parameters = tuple(join(*pair) for pair in zip(one.parameters, other.parameters, strict=True))
        return replace(one, parameters=parameters, size=max(one.size, other.size))
    if NULL in (one, other):
        return other if one == NULL else one
    return DYN


def assignable(wanted: Type, found: Type, bound: dict[str, Type]) -> bool:
    """Whether a value of a type may stand where another is wanted; type variables are ``bound`` to what they stand for."""
    if is_variable(wanted):
        known = bound.get(wanted.name)
        if known is None or known == DYN or (known.name == found.name and DYN in (*known.parameters,)):
            bound[wanted.name] = found
            return True
        if found == NULL or known == NULL:
            bound[wanted.name] = known if found == NULL else found
            return True
        if not assignable(known, found, {}):
            return False
        bound[wanted.name] = join(known, found)
        return True
    if DYN in (wanted, found):
        return True
    if wanted.name != found.name or len(wanted.parameters) != len(found.parameters):
        return False
    return all(assignable(one, other, bound) for one, other in zip(wanted.parameters, found.parameters, strict=True))


def bound_type(wanted: Type, bound: Mapping[str, Type]) -> Type:
    """A type with its variables replaced."""
    if is_variable(wanted):
        return bound.get(wanted.name, DYN)
    if not wanted.parameters:
        return wanted
    return replace(wanted, parameters=tuple(bound_type(found, bound) for found in wanted.parameters))

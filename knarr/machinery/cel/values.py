"""The values of CEL that Python has none of its own for, and what equality, order and arithmetic mean among all of them.

A list is a list, a map and an object a dict, an integer an int within 64 bits; bool is no int here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import total_ordering
from typing import Any

from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.forms import parse_duration

INT_MOST, UINT_MOST = 2**63 - 1, 2**64 - 1
SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62135596800 * SECOND, 253402300799 * SECOND + SECOND - 1


class UInt(int):
    """An unsigned integer of 64 bits."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Duration:
    nanoseconds: int

    def __lt__(self, other: Duration) -> bool:
        return self.nanoseconds < other.nanoseconds


@total_ordering
@dataclass(frozen=True, slots=True)
class Timestamp:
    """Nanoseconds since 1970."""

    nanoseconds: int

    def __lt__(self, other: Timestamp) -> bool:
        return self.nanoseconds < other.nanoseconds

    @property
    def moment(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.nanoseconds // 1000)


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be missing."""

    present: bool
    value: Any = None


NONE = Optional(False)


class MadeObject(dict[str, Any]):
    """An object that an expression makes, by the name of its type (``Object.spec``)."""

    def __init__(self, cel_type: str) -> None:
        super().__init__()
        self.cel_type = cel_type


def duration(text: str) -> Duration:
    try:
        return Duration(parse_duration(text))
    except ValueError:
        raise EvaluationError(f"invalid duration: {text!r}") from None


def timestamp(text: str) -> Timestamp:
    head, fraction, tail = text, "", ""
    if "." in text:
        head, _, rest = text.partition(".")
        digits = len(rest) - len(rest.lstrip("0123456789"))
        fraction, tail = rest[:digits], rest[digits:]
    try:
        found = datetime.fromisoformat(head + tail)
    except ValueError:
        raise EvaluationError(f"invalid timestamp: {text!r}") from None
    if found.tzinfo is None:
        raise EvaluationError(f"invalid timestamp: {text!r}")
    return Timestamp(int((found - _EPOCH) / timedelta(seconds=1)) * SECOND + int((fraction + "0" * 9)[:9]))


def type_name(value: Any) -> str:
    """What ``type(value)`` shows, and what errors say."""
    if value is None:
        return "null_type"
    if isinstance(value, MadeObject):
        return value.cel_type
    for sort, name in _NAMES:
        if isinstance(value, sort):
            return name
    return str(getattr(value, "cel_type", type(value).__name__))


_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (UInt, "uint"),
    (int, "int"),
    (float, "double"),
    (str, "string"),
    (bytes, "bytes"),
    (list, "list"),
    (dict, "map"),
    (Duration, "google.protobuf.Duration"),
    (Timestamp, "google.protobuf.Timestamp"),
    (Optional, "optional_type"),
)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(one: Any, other: Any) -> bool:
    if is_number(one) and is_number(other):
        return bool(one == other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, Optional) and isinstance(other, Optional):
        return one.present == other.present and equal(one.value, other.value)
    return type(one) is type(other) and bool(one == other)


def compare(one: Any, other: Any) -> int:
    """Less than, equal to or greater than 0; raises EvaluationError for what has no order."""
    if is_number(one) and is_number(other):
        return int(one > other) - int(one < other)
    if type(one) is type(other) and isinstance(one, str | bytes | bool | Duration | Timestamp):
        return int(one > other) - int(one < other)
    raise EvaluationError("no such overload")


def checked(value: int, *, unsigned: bool = False) -> int:
    """An integer that fits; raises EvaluationError for one that does not."""
    if unsigned:
        if not 0 <= value <= UINT_MOST:
            raise EvaluationError("unsigned integer overflow")
        return UInt(value)
    if not -INT_MOST - 1 <= value <= INT_MOST:
        raise EvaluationError("integer overflow")
    return value


def added(one: Any, other: Any) -> Any:
    match one, other:
        case (Timestamp(), Duration()) | (Duration(), Timestamp()):
            return in_range(Timestamp(one.nanoseconds + other.nanoseconds))
        case Duration(), Duration():
            return Duration(checked(one.nanoseconds + other.nanoseconds))
    if isinstance(one, str) and isinstance(other, str):
        return one + other
    if isinstance(one, list) and isinstance(other, list):
        return [*one, *other]
    if isinstance(one, bytes) and isinstance(other, bytes):
        return one + other
    return arithmetic("+", one, other)


def subtracted(one: Any, other: Any) -> Any:
    match one, other:
        case Timestamp(), Timestamp():
            return Duration(checked(one.nanoseconds - other.nanoseconds))
        case Timestamp(), Duration():
            return in_range(Timestamp(one.nanoseconds - other.nanoseconds))
        case Duration(), Duration():
            return Duration(checked(one.nanoseconds - other.nanoseconds))
    return arithmetic("-", one, other)


def in_range(found: Timestamp) -> Timestamp:
    if not _FIRST <= found.nanoseconds <= _LAST:
        raise EvaluationError("timestamp overflow")
    return found


def arithmetic(operator: str, one: Any, other: Any) -> Any:
    """Of two numbers of one type; raises EvaluationError."""
    if not is_number(one) or not is_number(other) or isinstance(one, float) != isinstance(other, float):
        raise EvaluationError("no such overload")
    if isinstance(one, float):
        return _of_floats(operator, one, other)
    unsigned = isinstance(one, UInt)
    if unsigned != isinstance(other, UInt):
        raise EvaluationError("no such overload")
    if operator in "/%":
        if other == 0:
            raise EvaluationError("division by zero" if operator == "/" else "modulus by zero")
        quotient = abs(int(one)) // abs(int(other)) * (1 if (one < 0) == (other < 0) else -1)
        return checked(quotient if operator == "/" else int(one) - quotient * int(other), unsigned=unsigned)
    value = int(one) + int(other) if operator == "+" else int(one) - int(other) if operator == "-" else int(one) * int(other)
    return checked(value, unsigned=unsigned)


def _of_floats(operator: str, one: float, other: float) -> float:
    try:
        if operator == "/":
            return (
                one / other
                if other
                else (math.nan if not one or math.isnan(one) else math.copysign(math.inf, one * math.copysign(1, other)))
            )
        if operator == "%":
            raise EvaluationError("no such overload")
        return one + other if operator == "+" else one - other if operator == "-" else one * other
    except OverflowError:
        return math.inf

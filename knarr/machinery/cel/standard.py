"""The standard functions of CEL, and those of its extensions for strings, lists, sets and optionals."""

from __future__ import annotations

import functools
import itertools
from datetime import UTC, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import re2

from knarr.machinery.cel import values
from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.cel.functions import Cost, Library, Sizes, compared, elements, first, matched, one, pairs, together, traversed
from knarr.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    A,
    B,
    list_of,
    map_of,
    optional_of,
)
from knarr.machinery.cel.values import NONE, SECOND, Duration, Optional, Timestamp

STANDARD = Library()
function, method = STANDARD.function, STANDARD.method
STRINGS, ITEMS = list_of(STRING), list_of(A)
# No text or list may grow beyond this while it is worked on.
MOST_MADE = 4 * 1024 * 1024
ORDERED = (INT, UINT, DOUBLE, BOOL, STRING, BYTES, TIMESTAMP, DURATION)


def _sizes() -> None:
    for sort in (STRING, BYTES, ITEMS, map_of(A, B)):
        function("size", (sort,), INT, len)
        method("size", (sort,), INT, len)


def _operators() -> None:
    function("_==_", (A, A), BOOL, values.equal, _equality)
    function("_!=_", (A, A), BOOL, lambda one, other: not values.equal(one, other), _equality)
    for sort in ORDERED:
        for name, holds in _RELATIONS.items():
            run = functools.partial(_related, holds)
            function(name, (sort, sort), BOOL, run, traversed(0) if sort in (STRING, BYTES) else one)
    for one_sort, other in ((INT, DOUBLE), (DOUBLE, INT), (INT, UINT), (UINT, INT), (UINT, DOUBLE), (DOUBLE, UINT)):
        for name, holds in _RELATIONS.items():
            function(name, (one_sort, other), BOOL, functools.partial(_related, holds))
    for sort in (INT, UINT, DOUBLE):
        function("_+_", (sort, sort), sort, values.added)
        function("_-_", (sort, sort), sort, values.subtracted)
        for name in ("*", "/", "%")[: 2 if sort is DOUBLE else 3]:
            function(f"_{name}_", (sort, sort), sort, functools.partial(values.arithmetic, name))
    for left, right, result in ((TIMESTAMP, DURATION, TIMESTAMP), (DURATION, TIMESTAMP, TIMESTAMP), (DURATION, DURATION, DURATION)):
        function("_+_", (left, right), result, values.added)
    for left, right, result in ((TIMESTAMP, TIMESTAMP, DURATION), (TIMESTAMP, DURATION, TIMESTAMP), (DURATION, DURATION, DURATION)):
        function("_-_", (left, right), result, values.subtracted)
    for sort in (STRING, BYTES):
        function("_+_", (sort, sort), sort, _joined, traversed(), together)
    function("_+_", (ITEMS, ITEMS), ITEMS, _joined, one, together)
    function("-_", (INT,), INT, lambda value: values.checked(-value))
    function("-_", (DOUBLE,), DOUBLE, lambda value: -value)
    function("_in_", (A, ITEMS), BOOL, lambda item, found: any(values.equal(item, other) for other in found), elements(1))
    function("_in_", (A, map_of(A, B)), BOOL, lambda key, found: _key_in(key, found))


def _equality(sizes: Sizes) -> int:
    return max(1, -(-min(sizes) // 10))


_RELATIONS = {"_<_": (-1,), "_<=_": (-1, 0), "_>_": (1,), "_>=_": (1, 0)}


def _related(holds: tuple[int, ...], one_value: Any, other: Any) -> bool:
    return values.compare(one_value, other) in holds


def _key_in(key: Any, found: dict[Any, Any]) -> bool:
    try:
        return key in found
    except TypeError:
        raise EvaluationError("no such overload") from None


def _joined(one_value: Any, other: Any) -> Any:
    return _bounded(values.added(one_value, other))


def _bounded(made: Any) -> Any:
    if len(made) > MOST_MADE:
        raise EvaluationError(f"a value would be larger than {MOST_MADE}")
    return made


@functools.lru_cache(maxsize=256)
def pattern(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(text, options)
    except re2.error:
        raise EvaluationError(f"error parsing regexp: {text!r}") from None


def _strings() -> None:
    method(
        "contains", (STRING, STRING), BOOL, lambda text, part: part in text, lambda sizes: max(1, traversed(0)(sizes) * traversed(1)(sizes))
    )
    method("startsWith", (STRING, STRING), BOOL, str.startswith, traversed(1))
    method("endsWith", (STRING, STRING), BOOL, str.endswith, traversed(1))
    method("matches", (STRING, STRING), BOOL, lambda text, found: pattern(found).search(text) is not None, matched)
    function("matches", (STRING, STRING), BOOL, lambda text, found: pattern(found).search(text) is not None, matched)
    method("lowerAscii", (STRING,), STRING, lambda text: "".join(c.lower() if "A" <= c <= "Z" else c for c in text), traversed(), first)
    method("upperAscii", (STRING,), STRING, lambda text: "".join(c.upper() if "a" <= c <= "z" else c for c in text), traversed(), first)
    method("trim", (STRING,), STRING, str.strip, traversed(), first)
    method("reverse", (STRING,), STRING, lambda text: text[::-1], traversed(), first)
    method("charAt", (STRING, INT), STRING, _char_at, one, lambda sizes: 1)
    method("substring", (STRING, INT), STRING, lambda text, start: _substring(text, start, len(text)), traversed(0), first)
    method("substring", (STRING, INT, INT), STRING, lambda text, start, end: _substring(text, start, end), traversed(0), first)
    method("indexOf", (STRING, STRING), INT, str.find, traversed(0))
    method("indexOf", (STRING, STRING, INT), INT, lambda text, part, start: text.find(part, _offset(start, text)), traversed(0))
    method("lastIndexOf", (STRING, STRING), INT, str.rfind, traversed(0))
    method("lastIndexOf", (STRING, STRING, INT), INT, _last_index, traversed(0))
    twice = traversed(0, times=2)
    method("replace", (STRING, STRING, STRING), STRING, lambda text, old, new: _replaced(text, old, new, -1), twice, _replaced_size)
    method("replace", (STRING, STRING, STRING, INT), STRING, lambda *given: _replaced(*given), twice, _replaced_size)
    method("split", (STRING, STRING), STRINGS, lambda text, by: _split(text, by, -1), twice, first)
    method("split", (STRING, STRING, INT), STRINGS, lambda text, by, count: _split(text, by, count), twice, first)
    method("join", (STRINGS,), STRING, lambda items: _bounded("".join(_texts(items))), elements())
    method("join", (STRINGS, STRING), STRING, lambda items, by: _bounded(by.join(_texts(items))), elements())
    method("format", (STRING, list_of(DYN)), STRING, _formatted, traversed(0))
    function("strings.quote", (STRING,), STRING, lambda text: _quoted(text), traversed(), lambda sizes: sizes[0] * 2 + 2)


def _search(sizes: Sizes) -> int:
    return max(1, traversed(0)(sizes) * traversed(1)(sizes))


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _offset(index: int, text: str) -> int:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return index


def _last_index(text: str, part: str, start: int) -> int:
    return text.rfind(part, 0, _offset(start, text) + len(part))


def _substring(text: str, start: int, end: int) -> str:
    if not 0 <= start <= len(text) or not 0 <= end <= len(text):
        raise EvaluationError(f"index out of range: {start if not 0 <= start <= len(text) else end}")
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _replaced(text: str, old: str, new: str, count: int) -> str:
    if text.count(old) * len(new) + len(text) > MOST_MADE:
        raise EvaluationError(f"a value would be larger than {MOST_MADE}")
    return text.replace(old, new, count)


def _replaced_size(sizes: Sizes) -> int:
    return int(sizes[0] * max(1, sizes[2]))


def _split(text: str, by: str, count: int) -> list[str]:
    if count == 0:
        return []
    if not by:
        return list(text) if count < 0 else [*text[: count - 1], text[count - 1 :]]
    return text.split(by, count - 1 if count > 0 else -1)


def _texts(items: list[Any]) -> list[str]:
    if not all(isinstance(item, str) for item in items):
        raise EvaluationError("no such overload")
    return items


def _quoted(text: str) -> str:
    escapes = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"'}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'


def _formatted(text: str, arguments: list[Any]) -> str:
    parts, index, position = [], 0, 0
    while (at := text.find("%", position)) >= 0:
        parts.append(text[position:at])
        end = at + 1
        while end < len(text) and (text[end].isdigit() or text[end] == "."):
            end += 1
        clause = text[end : end + 1]
        position = end + 1
        if clause == "%":
            parts.append("%")
            continue
        if index >= len(arguments):
            raise EvaluationError(f"index {index} out of range")
        digits = text[at + 1 : end].lstrip(".")
        parts.append(_clause(clause, int(digits[:3]) if digits.isdigit() else 6, arguments[index]))
        index += 1
    return _bounded("".join([*parts, text[position:]]))  # type: ignore[no-any-return]


def _clause(clause: str, precision: int, value: Any) -> str:
    try:
        match clause:
            case "s":
                return as_text(value)
            case "d":
                return str(int(value)) if values.is_number(value) else as_text(value)
            case "f" | "e":
                return f"{float(value):.{min(precision, 100)}{clause}}"
            case "b":
                return f"{int(value):b}"
            case "o":
                return f"{int(value):o}"
            case "x" | "X":
                text = value.encode().hex() if isinstance(value, str) else value.hex() if isinstance(value, bytes) else f"{int(value):x}"
                return str(text.upper() if clause == "X" else text)
    except (TypeError, ValueError, OverflowError):
        pass
    raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{clause}"')


def as_text(value: Any) -> str:
    """A value as ``string()`` or ``%s`` shows it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    if isinstance(value, Duration):
        return f"{value.nanoseconds / SECOND:.9f}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, Timestamp):
        fraction = f"{value.nanoseconds % SECOND:09}".rstrip("0")
        return value.moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_text(key)}: {as_text(value[key])}" for key in sorted(value, key=as_text)) + "}"
    return str(value)


def _conversions() -> None:
    for sort in (INT, UINT, DOUBLE, STRING, TIMESTAMP):
        function("int", (sort,), INT, _to_int)
    for sort in (INT, UINT, DOUBLE, STRING):
        function("uint", (sort,), UINT, lambda value: values.checked(int(_to_int(value, most=values.UINT_MOST)), unsigned=True))
        function("double", (sort,), DOUBLE, _to_double)
    for sort in (BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION):
        function("string", (sort,), STRING, as_text, traversed(), lambda sizes: max(32, sizes[0]))
    for sort in (STRING, BYTES):
        function("bytes", (sort,), BYTES, lambda value: value.encode() if isinstance(value, str) else value, traversed(), first)
    for sort in (BOOL, STRING):
        function("bool", (sort,), BOOL, _to_bool)
    function("timestamp", (STRING,), TIMESTAMP, values.timestamp)
    function("timestamp", (TIMESTAMP,), TIMESTAMP, lambda value: value)
    function("timestamp", (INT,), TIMESTAMP, lambda value: values.in_range(Timestamp(value * SECOND)))
    function("duration", (STRING,), DURATION, values.duration)
    function("duration", (DURATION,), DURATION, lambda value: value)
    function("dyn", (A,), DYN, lambda value: value)
    function("type", (A,), TYPE, values.type_name)


def _to_int(value: Any, most: int = values.INT_MOST) -> int:
    try:
        if isinstance(value, Timestamp):
            return value.nanoseconds // SECOND
        found = int(value) if not isinstance(value, str) else int(value, 10)
    except (ValueError, OverflowError):
        raise EvaluationError(f"integer overflow or malformed number: {value!r}") from None
    if not -values.INT_MOST - 1 <= found <= most:
        raise EvaluationError("integer overflow")
    return found


def _to_double(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise EvaluationError(f"malformed number: {value!r}") from None


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "True", "TRUE", "t", "1", "false", "False", "FALSE", "f", "0"):
        return value[0] in "tT1"
    raise EvaluationError(f"type conversion error from '{value}' to bool")


def _times() -> None:
    parts = {
        "getFullYear": lambda found: found.year,
        "getMonth": lambda found: found.month - 1,
        "getDayOfYear": lambda found: found.timetuple().tm_yday - 1,
        "getDayOfMonth": lambda found: found.day - 1,
        "getDate": lambda found: found.day,
        "getDayOfWeek": lambda found: (found.weekday() + 1) % 7,
        "getHours": lambda found: found.hour,
        "getMinutes": lambda found: found.minute,
        "getSeconds": lambda found: found.second,
        "getMilliseconds": lambda found: found.microsecond // 1000,
    }
    for name, part in parts.items():
        method(name, (TIMESTAMP,), INT, functools.partial(_part, part, zone="UTC"))
        method(name, (TIMESTAMP, STRING), INT, lambda moment, zone, part=part: _part(part, moment, zone))
    for name, unit in (
        ("getHours", 3600 * SECOND),
        ("getMinutes", 60 * SECOND),
        ("getSeconds", SECOND),
        ("getMilliseconds", SECOND // 1000),
    ):
        method(name, (DURATION,), INT, functools.partial(_in_units, unit))


def _part(part: Any, moment: Timestamp, zone: str) -> int:
    return int(part(moment.moment.astimezone(_zone(zone))))


def _zone(name: str) -> Any:
    try:
        if name[:1] in "+-" or name[:2].isdigit():
            hours, _, minutes = name.lstrip("+-").partition(":")
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            return timezone(-offset if name[0] == "-" else offset)
        return UTC if name == "UTC" else ZoneInfo(name[:64])
    except (ValueError, OSError, LookupError):
        raise EvaluationError(f"unknown time zone {name}") from None


def _in_units(unit: int, span: Duration) -> int:
    whole = abs(span.nanoseconds) // unit
    return whole if span.nanoseconds >= 0 else -whole


def _lists() -> None:
    method("isSorted", (ITEMS,), BOOL, _is_sorted, elements(), estimate=compared)
    method("sum", (ITEMS,), A, _sum, elements())
    method("min", (ITEMS,), A, lambda items: _extreme(items, -1), elements(), estimate=compared)
    method("max", (ITEMS,), A, lambda items: _extreme(items, 1), elements(), estimate=compared)
    method("indexOf", (ITEMS, A), INT, lambda items, item: _index_of(items, item), elements(), estimate=compared)
    method("lastIndexOf", (ITEMS, A), INT, _last_index_of, elements(), estimate=compared)
    method("slice", (ITEMS, INT, INT), ITEMS, _slice, elements(), first)
    method("reverse", (ITEMS,), ITEMS, lambda items: items[::-1], elements(), first)
    method("distinct", (ITEMS,), ITEMS, _distinct, _squared, first)
    method(
        "sort",
        (ITEMS,),
        ITEMS,
        lambda items: sorted(items, key=functools.cmp_to_key(values.compare)),
        lambda sizes: pairs((sizes[0], sizes[0])),
        first,
    )
    method("first", (ITEMS,), optional_of(A), lambda items: Optional(True, items[0]) if items else NONE)
    method("last", (ITEMS,), optional_of(A), lambda items: Optional(True, items[-1]) if items else NONE)
    method("flatten", (list_of(ITEMS),), ITEMS, lambda items: _bounded([item for inner in items for item in inner]), elements())
    for name, run, times in (("contains", _holds_all, 1), ("intersects", _holds_any, 1), ("equivalent", _equivalent, 2)):
        function(f"sets.{name}", (ITEMS, ITEMS), BOOL, run, _each_with_each(times))


def _each_with_each(times: int) -> Cost:
    return lambda sizes: 1 + times * sizes[0] * sizes[1]


def _squared(sizes: Sizes) -> int:
    return pairs((sizes[0], sizes[0]))


def _is_sorted(items: list[Any]) -> bool:
    return all(values.compare(*two) <= 0 for two in itertools.pairwise(items))


def _sum(items: list[Any]) -> Any:
    if not items:
        return 0
    return functools.reduce(values.added, items)


def _extreme(items: list[Any], sign: int) -> Any:
    if not items:
        raise EvaluationError(f"{'max' if sign > 0 else 'min'} called on empty list")
    return functools.reduce(lambda best, item: item if values.compare(item, best) == sign else best, items)


def _index_of(items: list[Any], item: Any) -> int:
    return next((index for index, other in enumerate(items) if values.equal(item, other)), -1)


def _last_index_of(items: list[Any], item: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if values.equal(item, items[index])), -1)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if not 0 <= start <= end <= len(items):
        raise EvaluationError(f"cannot slice({start}, {end}): out of range")
    return items[start:end]


def _distinct(items: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if _index_of(found, item) < 0:
            found.append(item)
    return found


def _holds_all(items: list[Any], others: list[Any]) -> bool:
    return all(_index_of(items, other) >= 0 for other in others)


def _holds_any(items: list[Any], others: list[Any]) -> bool:
    return any(_index_of(items, other) >= 0 for other in others)


def _equivalent(items: list[Any], others: list[Any]) -> bool:
    return _holds_all(items, others) and _holds_all(others, items)


def _optionals() -> None:
    function("optional.of", (A,), optional_of(A), lambda value: Optional(True, value), one, first)
    function("optional.none", (), optional_of(A), lambda: NONE)
    function("optional.ofNonZeroValue", (A,), optional_of(A), _of_non_zero, one, first)
    method("hasValue", (optional_of(A),), BOOL, lambda found: found.present)
    method("value", (optional_of(A),), A, _value, one, first)
    method("or", (optional_of(A), optional_of(A)), optional_of(A), lambda found, other: found if found.present else other, one, max)
    method("orValue", (optional_of(A), A), A, lambda found, other: found.value if found.present else other, one, max)


def _of_non_zero(value: Any) -> Optional:
    empty = value is None or value is False or (values.is_number(value) and value == 0) or (hasattr(value, "__len__") and not len(value))
    return NONE if empty else Optional(True, value)


def _value(found: Optional) -> Any:
    if not found.present:
        raise EvaluationError("optional.none() dereference")
    return found.value


_sizes()
_operators()
_strings()
_conversions()
_times()
_lists()
_optionals()

"""The JSON forms of the messages that are not JSON objects: times, durations, quantities, numbers or strings.

``read_…`` turns a JSON value into a message's fields (a dictionary) and raises ValueError in Kubernetes' words;
``write_…`` turns message fields into the JSON value.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from knarr.machinery import quantity

NANOSECONDS = 1_000_000_000
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_RFC3339_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|h|m|s))+)", re.ASCII)
_DURATION_PART = re.compile(r"(\d*)\.?(\d*)(ns|us|µs|μs|ms|h|m|s)", re.ASCII)
_DURATION_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": NANOSECONDS, "m": 60 * NANOSECONDS, "h": 3600 * NANOSECONDS,
}  # fmt: skip
# Times and durations are shorter by far. Also bounds what the caches below may hold: what is refused is not remembered.
MAX_LETTERS = 256
# Go's zero time (year 1) in seconds since 1970.
GO_ZERO_SECONDS = -62_135_596_800
# That of the year 9999; a time zone may lead out of the years at both ends.
_LAST_SECOND = 253_402_300_799


class WrongType(ValueError):
    """The JSON value has a type that the form does not take; ``go_type`` is what was wanted."""

    def __init__(self, go_type: str) -> None:
        super().__init__(go_type)
        self.go_type = go_type


def read_quantity(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return _read_quantity(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(quantity.FORMAT_MESSAGE)
    return _read_quantity(repr(value))


@lru_cache(maxsize=8192)
def _read_quantity(text: str) -> dict[str, Any]:
    """Of text alone: for a cache true is 1, and a list nothing that it could look for."""
    if len(text) > MAX_LETTERS:
        raise ValueError(quantity.LENGTH_MESSAGE)
    return {"string": quantity.canonical(text.strip())}


def read_int_or_string(value: Any) -> dict[str, Any]:
    if type(value) is int:
        if not -(2**31) <= value < 2**31:
            raise WrongType("int32")
        return {"int_val": value}
    if type(value) is str:
        return {"type": 1, "str_val": value}
    raise WrongType("int32")


def _instant(text: str, layout: str) -> tuple[int, int]:
    """Seconds since 1970 and nanoseconds."""
    match = _RFC3339.fullmatch(text) if len(text) <= MAX_LETTERS else None
    if match is None:
        text = text[:MAX_LETTERS]
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"')
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError as error:
        part = "day" if "day" in str(error) else str(error).split()[0]
        raise ValueError(f'parsing time "{text}": {part} out of range') from None
    passed = moment - _EPOCH
    seconds = passed.days * 86_400 + passed.seconds
    if zone != "Z":
        offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    if not GO_ZERO_SECONDS <= seconds <= _LAST_SECOND:
        raise ValueError(f'parsing time "{text}": year out of range')
    return seconds, int((fraction or "0")[:9].ljust(9, "0"))


@lru_cache(maxsize=8192)
def read_time(value: Any) -> dict[str, Any]:
    if type(value) is not str:
        raise WrongType("string")
    seconds, _ = _instant(value, _RFC3339_LAYOUT)
    return {} if seconds == GO_ZERO_SECONDS else {"seconds": seconds}


@lru_cache(maxsize=8192)
def read_micro_time(value: Any) -> dict[str, Any]:
    if type(value) is not str:
        raise WrongType("string")
    seconds, nanos = _instant(value, _MICRO_LAYOUT)
    return {} if seconds == GO_ZERO_SECONDS else {"seconds": seconds, "nanos": nanos // 1000 * 1000}


@lru_cache(maxsize=8192)
def write_seconds(seconds: int) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return _write_moment(seconds) + "Z"


def write_time(message: Any) -> str | None:
    seconds = message.seconds
    return write_seconds(seconds) if seconds or message.nanos else None


def write_micro_time(message: Any) -> str | None:
    seconds, nanos = message.seconds, message.nanos
    return f"{_write_moment(seconds)}.{nanos // 1000:06d}Z" if seconds or nanos else None


def _write_moment(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    moment = datetime.fromordinal(max(1, min(3_652_059, _EPOCH.toordinal() + days)))
    return f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


@lru_cache(maxsize=1024)
def read_duration(value: Any) -> dict[str, Any]:
    if type(value) is not str:
        raise WrongType("string")
    return {"duration": parse_duration(value)}


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration (``1h30m``, ``-1.5s``, ``0``). Raises ValueError in Go's words."""
    if text in ("0", "+0", "-0"):
        return 0
    match = _DURATION.fullmatch(text) if len(text) <= MAX_LETTERS else None
    if match is None:
        text = text[:MAX_LETTERS]
        raise ValueError(f'time: {"missing unit in" if text.strip("+-").isdigit() else "invalid"} duration "{text}"')
    total = 0
    for whole, fraction, unit in _DURATION_PART.findall(match[2]):
        scale = _DURATION_UNITS[unit]
        total += int(whole or 0) * scale
        if fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
    total = -total if match[1] == "-" else total
    if not -(2**63) <= total < 2**63:
        raise ValueError(f'time: invalid duration "{text}"')
    return total


def write_duration(nanoseconds: int) -> str:
    """Go's spelling of a duration: ``1m30s``, ``1.5ms``, ``0s``."""
    if not nanoseconds:
        return "0s"
    sign, rest = ("-" if nanoseconds < 0 else ""), abs(nanoseconds)
    if rest < NANOSECONDS:
        unit = "ns" if rest < 1_000 else "µs" if rest < 1_000_000 else "ms"
        return f"{sign}{_decimal(rest, _DURATION_UNITS[unit])}{unit}"
    hours, rest = divmod(rest, 3600 * NANOSECONDS)
    minutes, rest = divmod(rest, 60 * NANOSECONDS)
    text = f"{_decimal(rest, NANOSECONDS)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(value: int, scale: int) -> str:
    whole, rest = divmod(value, scale)
    return f"{whole}.{str(rest).rjust(len(str(scale)) - 1, '0').rstrip('0')}" if rest else str(whole)

"""Cron schedules: the five fields and the descriptors that Kubernetes takes, and its words for what it does not.

Specified by the parser that Kubernetes uses (robfig/cron, standard form).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from knarr.machinery.forms import NANOSECONDS, parse_duration

JANUARY_TO_DECEMBER = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
SUNDAY_TO_SATURDAY = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = {name: number for number, name in enumerate(JANUARY_TO_DECEMBER, start=1)}
DAYS = {name: number for number, name in enumerate(SUNDAY_TO_SATURDAY)}
NONE: dict[str, int] = {}
# Minute, hour, day of the month, month, day of the week: the least and the greatest number, and names for some.
FIELDS = ((0, 59, NONE), (0, 23, NONE), (1, 31, NONE), (1, 12, MONTHS), (0, 6, DAYS))
DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
EVERY = "@every "


class InvalidSchedule(ValueError):
    """A schedule that cannot be read."""


class UnknownZone(ValueError):
    """A time zone that this machine does not know."""


@dataclass(frozen=True, slots=True)
class Times:
    """``fields`` as cron has them, with nothing but ``*`` and numbers; or else ``every`` so much time, in whole seconds."""

    fields: str
    every: timedelta = timedelta()


def split_zone(text: str) -> tuple[str | None, str]:
    """The zone that a schedule names itself, None where it names none, and what is left of it."""
    if not text.startswith(("TZ=", "CRON_TZ=")):
        return None, text
    named, _, rest = text.partition(" ")
    return named.partition("=")[2], rest.strip()


def zone_of(name: str) -> ZoneInfo:
    """Raises UnknownZone."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise UnknownZone(f"unknown time zone {name}") from None


def parse_schedule(text: str) -> Times:
    """Reads a schedule without a zone. Raises InvalidSchedule."""
    if text.startswith(EVERY):
        return Times("", _period(text))
    if text.startswith("@") and text not in DESCRIPTORS:
        raise InvalidSchedule(f"unrecognized descriptor: {text}")
    if not text:
        raise InvalidSchedule("empty spec string")
    fields = DESCRIPTORS.get(text, text).split()
    if len(fields) != len(FIELDS):
        raise InvalidSchedule(f"expected exactly {len(FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]")
    return Times(" ".join(_plain(field, *bounds) for field, bounds in zip(fields, FIELDS, strict=True)))


def _period(text: str) -> timedelta:
    """Whole seconds, one at least; that is also what a negative one comes to."""
    try:
        return timedelta(seconds=max(parse_duration(text.removeprefix(EVERY)) // NANOSECONDS, 1))
    except ValueError as error:
        raise InvalidSchedule(f"failed to parse duration {text}: {error}") from None


def _plain(field: str, low: int, high: int, names: dict[str, int]) -> str:
    """The numbers of a field; ``*`` where it stands for all of them, which matters for days: those of the week and of the month."""
    numbers: set[int] = set()
    any_number = False
    # Nothing between two commas counts for nothing.
    for part in [part for part in field.split(",") if part] or [field]:
        found = _part(part, low, high, names)
        numbers.update(found)
        any_number = any_number or (part[0] in "*?" and found.step == 1)
    return "*" if any_number else ",".join(map(str, sorted(numbers)))


def _part(part: str, low: int, high: int, names: dict[str, int]) -> range:
    """One number, range or step: ``*``, ``5``, ``1-5``, ``*/15``, ``mon-fri/2``."""
    span, *steps = part.split("/")
    ends = span.split("-")
    if len(ends) > 2:
        raise InvalidSchedule(f"too many hyphens: {part}")
    if len(steps) > 1:
        raise InvalidSchedule(f"too many slashes: {part}")
    if ends[0] in ("*", "?"):
        # What comes after it in a range is not looked at.
        start, end = low, high
    else:
        start, *last = (_number(text, names) for text in ends)
        end = last[0] if last else high if steps else start
    step = _number(steps[0], NONE) if steps else 1
    if start < low:
        raise InvalidSchedule(f"beginning of range ({start}) below minimum ({low}): {part}")
    if end > high:
        raise InvalidSchedule(f"end of range ({end}) above maximum ({high}): {part}")
    if start > end:
        raise InvalidSchedule(f"beginning of range ({start}) beyond end of range ({end}): {part}")
    if not step:
        raise InvalidSchedule(f"step of range should be a positive number: {part}")
    return range(start, end + 1, step)


def _number(text: str, names: dict[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    if not re.fullmatch("[+-]?[0-9]{1,9}", text, re.ASCII):
        raise InvalidSchedule(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise InvalidSchedule(f"negative number ({number}) not allowed: {text}")
    return number

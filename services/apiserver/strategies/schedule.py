"""Cron schedules: the five fields and the descriptors that Kubernetes takes, and its words for what it does not."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

from knarr.machinery.forms import parse_duration

JANUARY_TO_DECEMBER = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTHS = {name: number for number, name in enumerate(JANUARY_TO_DECEMBER, start=1)}
DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
NONE: dict[str, int] = {}
# Minute, hour, day of the month, month, day of the week: the least and the greatest number, and names for some.
FIELDS = ((0, 59, NONE), (0, 23, NONE), (1, 31, NONE), (1, 12, MONTHS), (0, 6, DAYS))
DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
EVERY = "@every "


def schedule_error(text: str) -> str:
    """What is wrong with a schedule; empty when nothing is. Specified by the parser that Kubernetes uses (robfig/cron, standard form)."""
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, _, text = text.partition(" ")
        if error := zone_error(zone.partition("=")[2]):
            return f"provided bad location {zone.partition('=')[2]}: {error}"
        text = text.strip()
    if text.startswith("@"):
        return _descriptor_error(text)
    fields = text.split()
    if len(fields) != len(FIELDS):
        return f"expected exactly {len(FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]" if text else "empty spec string"
    errors = (_part_error(part, *bounds) for field, bounds in zip(fields, FIELDS, strict=True) for part in _parts(field))
    return next((error for error in errors if error), "")


def zone_error(name: str) -> str:
    """Why a time zone is not known; empty when it is."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return f"unknown time zone {name}"
    return ""


def _descriptor_error(text: str) -> str:
    if text in DESCRIPTORS:
        return ""
    if not text.startswith(EVERY):
        return f"unrecognized descriptor: {text}"
    try:
        parse_duration(text.removeprefix(EVERY))
    except ValueError as error:
        return f"failed to parse duration {text}: {error}"
    return ""


def _parts(field: str) -> list[str]:
    """What commas part; nothing between two of them counts for nothing."""
    return [part for part in field.split(",") if part] or [field]


def _part_error(part: str, low: int, high: int, names: dict[str, int]) -> str:
    """One number, range or step: ``*``, ``5``, ``1-5``, ``*/15``, ``mon-fri/2``."""
    span, *steps = part.split("/")
    ends = span.split("-")
    if len(ends) > 2:
        return f"too many hyphens: {part}"
    if len(steps) > 1:
        return f"too many slashes: {part}"
    numbers: list[int] = []
    for text in [*([] if ends[0] in ("*", "?") else ends), *steps]:
        number = names.get(text.lower()) if text not in steps else None
        if number is None:
            if not re.fullmatch("[+-]?[0-9]{1,9}", text, re.ASCII):
                return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
            number = int(text)
            if number < 0:
                return f"negative number ({number}) not allowed: {text}"
        numbers.append(number)
    step = numbers.pop() if steps else 1
    start, end = (low, high) if not numbers else (numbers[0], high if steps and len(numbers) == 1 else numbers[-1])
    if start < low:
        return f"beginning of range ({start}) below minimum ({low}): {part}"
    if end > high:
        return f"end of range ({end}) above maximum ({high}): {part}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {part}"
    return "" if step else f"step of range should be a positive number: {part}"

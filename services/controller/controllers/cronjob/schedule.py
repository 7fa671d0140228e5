"""When a CronJob is due: its schedule in its time zone, as Kubernetes' parser (robfig/cron, standard form) reads it.

Times of the clock that a day leaves out are left out, those that it has twice are due twice, as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from knarr.machinery.forms import NANOSECONDS, parse_duration

JANUARY_TO_DECEMBER = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
SUNDAY_TO_SATURDAY = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = {name: number for number, name in enumerate(JANUARY_TO_DECEMBER, start=1)}
DAYS = {name: number for number, name in enumerate(SUNDAY_TO_SATURDAY)}
# Minute, hour, day of the month, month, day of the week.
FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = ((0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, MONTHS), (0, 6, DAYS))
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
_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)
# Changes of the clock that are looked at for one answer: those of more than 50 years.
_MOST_CHANGES = 120


class InvalidSchedule(ValueError):
    """A schedule that cannot be read. An API server takes none; another one may have."""


class UnknownZone(ValueError):
    """A time zone that this machine does not know."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """``fields`` as cron has them, with nothing but ``*`` and numbers; or else ``every`` so much time, counted from ``begin`` where that is
    known and from the time that is asked about where not."""

    fields: str
    every: timedelta
    zone: tzinfo
    begin: datetime | None = None

    @classmethod
    def parse(cls, text: str, zone: str = "") -> Schedule:
        """``zone`` is UTC where there is none, and counts nothing beside one in the text itself. Raises InvalidSchedule, UnknownZone."""
        if text.startswith(("TZ=", "CRON_TZ=")):
            named, _, text = text.partition(" ")
            zone, text = named.partition("=")[2], text.strip()
        place = zone_of(zone)
        if text.startswith(EVERY):
            return cls("", _duration(text.removeprefix(EVERY)), place)
        fields = DESCRIPTORS.get(text, text).split()
        if len(fields) != len(FIELDS):
            raise InvalidSchedule(f"expected exactly {len(FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]")
        plain = " ".join(_plain(field, *bounds) for field, bounds in zip(fields, FIELDS, strict=True))
        return cls(plain, timedelta(), place)

    def counted_from(self, begin: datetime) -> Schedule:
        """The same, where the time between two counts from there: whoever asks in between is not answered a later time for it."""
        return replace(self, begin=begin)

    def next(self, after: datetime) -> datetime | None:
        """The first time after that one, both in UTC; None where there is none within 50 years."""
        if self.every:
            begin = (self.begin or after).replace(microsecond=0)
            return begin + self.every * (max((after - begin) // self.every, 0) + 1)
        moment = after.replace(microsecond=0)
        offset = self._offset(moment)
        for _ in range(_MOST_CHANGES):
            found = self._next_by_clock(moment + offset)
            if found is None:
                return None
            due = found - offset
            change = self._change(moment, due, offset)
            if change is None:
                return due
            # From there on the clock shows something else; what it shows at that very moment counts, too.
            moment, offset = change - _SECOND, self._offset(change)
        return None

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The times after the one and not after the other."""
        found = self.next(after)
        while found is not None and found <= until:
            yield found
            found = self.next(found)

    def _next_by_clock(self, shown: datetime) -> datetime | None:
        try:
            found = next(CronSim(self.fields, shown.replace(tzinfo=None)), None)
        except CronSimError:
            # The 30th of February.
            return None
        return None if found is None else found.replace(tzinfo=UTC)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta()

    def _change(self, since: datetime, until: datetime, offset: timedelta) -> datetime | None:
        """The first moment after ``since`` and not after ``until`` from which the zone's offset is another one."""
        low, high = since, since
        while high < until:
            low, high = high, min(high + _DAY, until)
            if self._offset(high) != offset:
                break
        else:
            return None
        while high - low > _SECOND:
            middle = low + (high - low) // 2
            middle = middle.replace(microsecond=0)
            low, high = (middle, high) if self._offset(middle) == offset else (low, middle)
        return high


def zone_of(name: str) -> tzinfo:
    """The zone of that name, UTC for none. Raises UnknownZone."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise UnknownZone(f"unknown time zone {name}") from None


def _plain(field: str, low: int, high: int, names: dict[str, int]) -> str:
    """The numbers of a field; ``*`` where it stands for all of them, which matters for days: those of the week and of the month."""
    numbers: set[int] = set()
    any_number = False
    for part in _parts(field):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, {}) if slash else 1
        if not step:
            raise InvalidSchedule(f"step of range should be a positive number: {part}")
        if span.count("-") > 1:
            raise InvalidSchedule(f"too many hyphens: {part}")
        first, dash, last = span.partition("-")
        # What comes after it in a range is not looked at.
        if first in ("*", "?"):
            any_number = any_number or step == 1
            numbers |= {*range(low, high + 1, step)}
            continue
        start = _number(first, names)
        end = _number(last, names) if dash else (high if slash else start)
        if not low <= start <= end <= high:
            raise InvalidSchedule(f"range ({start}-{end}) is not within {low}-{high}: {part}")
        numbers |= {*range(start, end + 1, step)}
    return "*" if any_number else ",".join(map(str, sorted(numbers)))


def _parts(field: str) -> list[str]:
    """What commas part; nothing between two of them counts for nothing. Raises InvalidSchedule where there is nothing else."""
    parts = [part for part in field.split(",") if part]
    if not parts:
        raise InvalidSchedule(f"a field has no number: {field}")
    return parts


def _number(text: str, names: dict[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    text = text.removeprefix("+")
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise InvalidSchedule(f"failed to parse int from {text}")
    return int(text)


def _duration(text: str) -> timedelta:
    """Whole seconds, one at least; that is also what a negative one comes to."""
    try:
        return timedelta(seconds=max(parse_duration(text) // NANOSECONDS, 1))
    except ValueError as error:
        raise InvalidSchedule(f"failed to parse duration {EVERY}{text}: {error}") from None

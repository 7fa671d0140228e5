"""When a CronJob is due: its schedule (``knarr/machinery/cron.py`` reads it) in its time zone.

Times of the clock that a day leaves out are left out, those that it has twice are due twice, as in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from knarr.machinery.cron import parse_schedule, split_zone, zone_of

_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)
# Changes of the clock that are looked at for one answer: those of more than 50 years.
_MOST_CHANGES = 120


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
        named, text = split_zone(text)
        zone = zone if named is None else named
        place = zone_of(zone) if zone else UTC
        times = parse_schedule(text)
        return cls(times.fields, times.every, place)

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

"""``datetime`` (UTC) ↔ Kubernetes' Time and MicroTime messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from knarr.api.meta.v1 import meta_pb2 as meta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


def to_time(moment: datetime) -> meta.Time:
    """A Time of whole seconds, rounded down. The datetime must have a time zone."""
    return meta.Time(seconds=(moment - _EPOCH) // _SECOND)


def to_micro_time(moment: datetime) -> meta.MicroTime:
    """A MicroTime. The datetime must have a time zone."""
    seconds, micros = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return meta.MicroTime(seconds=seconds, nanos=micros * 1000)


def to_datetime(time: meta.Time | meta.MicroTime) -> datetime:
    """The moment in UTC; 1970 for a zero time (see ``is_zero``), the first or the last one for what no date can say."""
    try:
        return _EPOCH + timedelta(seconds=time.seconds, microseconds=time.nanos // 1000)
    except OverflowError:
        return _LAST if time.seconds > 0 else _FIRST


def seconds_after(moment: datetime, seconds: float) -> datetime | None:
    """The moment so many seconds later; None where that is later than any date can say, as of the largest of whole numbers: never."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return None


def is_zero(time: meta.Time | meta.MicroTime) -> bool:
    """Whether the time is unset, which JSON shows as null."""
    return not (time.seconds or time.nanos)

"""Answers of upstreams for as long as they hold. Pure: the caller says what time it is, in seconds of any clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.dns.zone.records import NOERROR, Answer, Record

# Of an answer that has expired (RFC 8767).
STALE_TTL_SECONDS = 30
# Of a negative answer without SOA, which says nothing of how long it holds.
UNSAID_NEGATIVE_SECONDS = 5
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Answer
    stored: float
    expires: float


class AnswerCache:
    """At most ``limit`` answers; the one unused for longest goes first."""

    def __init__(self, limit: int, longest_seconds: int, longest_negative_seconds: int, stale_seconds: int) -> None:
        self._limit = limit
        self._longest = longest_seconds
        self._longest_negative = longest_negative_seconds
        self._stale = stale_seconds
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Key, now: float) -> Answer | None:
        """An answer that still holds, with the time that is left to it."""
        entry = self._entries.get(key)
        if entry is None or entry.expires <= now:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return _aged(entry.answer, int(now - entry.stored))

    def stale(self, key: Key, now: float) -> Answer | None:
        """An answer that no longer holds, but not for too long."""
        entry = self._entries.get(key)
        if entry is None or now - entry.expires > self._stale or not self._stale:
            return None
        return _with_ttl(entry.answer, STALE_TTL_SECONDS)

    def keep(self, key: Key, answer: Answer, now: float) -> None:
        seconds = self.holds(answer)
        if seconds <= 0 or self._limit <= 0:
            self._entries.pop(key, None)
            return
        self._entries[key] = _Entry(answer, now, now + seconds)
        self._entries.move_to_end(key)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def holds(self, answer: Answer) -> int:
        """For how many seconds an answer may be kept."""
        negative = answer.code != NOERROR or not answer.answers or all(record.type == "CNAME" for record in answer.answers)
        ttls = [record.ttl for record in answer.answers]
        if not negative:
            return min(self._longest, *ttls)
        soa = next((record for record in answer.authority if record.type == "SOA"), None)
        said = min(soa.ttl, int(soa.data.rpartition(" ")[2])) if soa is not None else UNSAID_NEGATIVE_SECONDS
        return min(self._longest_negative, said, *ttls)


def _aged(answer: Answer, seconds: int) -> Answer:
    def aged(records: Iterable[Record]) -> tuple[Record, ...]:
        return tuple(replace(record, ttl=max(0, record.ttl - seconds)) for record in records)

    return replace(answer, answers=aged(answer.answers), authority=aged(answer.authority), additional=aged(answer.additional))


def _with_ttl(answer: Answer, ttl: int) -> Answer:
    def fresh(records: Iterable[Record]) -> tuple[Record, ...]:
        return tuple(replace(record, ttl=ttl) for record in records)

    return replace(answer, answers=fresh(answer.answers), authority=fresh(answer.authority), additional=fresh(answer.additional))

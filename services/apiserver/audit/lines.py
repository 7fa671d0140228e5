"""Lines of the audit log before they are written: put together later, many at a time or aside."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from services.apiserver.audit.bodies import Body
from services.apiserver.audit.text import quoted, stamps
from services.apiserver.authorization import DECISION, REASON

if TYPE_CHECKING:
    from services.apiserver.audit.event import Common

log = logging.getLogger(__name__)

# As Kubernetes bounds it where it truncates: a line with larger objects is kept without them.
MAX_LINE_BYTES = 100 * 1024
TRUNCATED = "audit.k8s.io/truncated"
# What is noted of most requests, in Kubernetes' word. Why is one of few reasons.
PERMITTED = "allow"
REMEMBERED_REASONS = 256
# What each line has besides what is counted by itself: names of fields, the request's identity, two moments.
OWN_BYTES = 256


@lru_cache(maxsize=REMEMBERED_REASONS)
def permitted_json(reason: str) -> str:
    """What is noted of a request of which nothing else is."""
    return f',"annotations":{orjson.dumps({DECISION: PERMITTED, REASON: reason}).decode()}'


class Line:
    """One without objects. Between other work it would take twice as long to put it together as among its like."""

    __slots__ = ("_answered", "_common", "_identity", "_name", "_notes", "_reason", "_received", "_seconds", "_stage")

    def __init__(
        self,
        common: Common,
        identity: str,
        stage: str,
        name: str,
        answered: str,
        received_seconds: float,
        seconds: float,
        reason: str | None,
        notes: str,
    ) -> None:
        """``name`` is that of what is created, where the path has none. ``notes`` are JSON; with a ``reason`` there are none but
        that the request was permitted, and why."""
        self._common, self._identity, self._stage, self._name, self._answered = common, identity, stage, name, answered
        self._received, self._seconds, self._reason, self._notes = received_seconds, seconds, reason, notes

    @property
    def held_bytes(self) -> int:
        """About as many as the line will have."""
        return self._common.held_bytes + len(self._name) + len(self._answered) + len(self._reason or self._notes) + OWN_BYTES

    @property
    def halves(self) -> tuple[str, str]:
        """The line up to its objects, and from there on, but for what ends it."""
        common, name = self._common, self._name
        named = f',"name":{quoted(name)}' if name and common.about else ""
        notes = self._notes if self._reason is None else permitted_json(self._reason)
        return (
            f'{common.begin}{self._identity}","stage":"{self._stage}",{common.told}{common.about}{named}{common.about_end}{self._answered}',
            f"{stamps(self._received, self._seconds)}{notes}}}",
        )

    def line(self) -> bytes:
        """The whole line."""
        first, last = self.halves
        return f"{first}{last}\n".encode()


class Objects:
    """A line that has objects in it: they are put there by whoever writes it, aside from the loop."""

    __slots__ = ("_bodies", "_first", "_last", "_omits_managed_fields", "held_bytes")

    def __init__(self, first: str, last: str, request: Body | None, answer: Body | None, *, omits_managed_fields: bool) -> None:
        self._first, self._last, self._omits_managed_fields = first, last, omits_managed_fields
        self._bodies = [(name, body) for name, body in (("requestObject", request), ("responseObject", answer)) if body is not None]
        size_bytes = sum(body.size_bytes for _, body in self._bodies)
        if size_bytes > MAX_LINE_BYTES:
            # It would be left out in the end: it is not held until then.
            self._bodies, self._last, size_bytes = [], truncated(last), 0
        self.held_bytes = len(first) + len(last) + size_bytes

    def line(self) -> bytes:
        """The whole line; without the objects, and saying so, where it would be longer than may be."""
        first, last, parts = self._first.encode(), self._last.encode(), []
        for name, body in self._bodies:
            if found := self._shown(body):
                parts.append(f'"{name}":'.encode() + found + b",")
        if len(first) + sum(map(len, parts)) + len(last) > MAX_LINE_BYTES:
            parts, last = [], truncated(self._last).encode()
        return b"".join((first, *parts, last, b"\n"))

    def _shown(self, body: Body) -> bytes | None:
        try:
            text = body.make()
            if not text or not self._omits_managed_fields or b'"managedFields"' not in text:
                return text
            found = orjson.loads(text)
        except Exception as error:
            log.debug("an object is not kept in the audit log", extra={"error": error})
            return None
        for obj in (found, *(found.get("items") or ())) if isinstance(found, dict) else ():
            if isinstance(obj, dict) and isinstance(obj.get("metadata"), dict):
                obj["metadata"].pop("managedFields", None)
        return orjson.dumps(found)


def truncated(last: str) -> str:
    """The end of a line whose objects were left out."""
    note = f'"{TRUNCATED}":"true"'
    begin, found, end = last.partition(',"annotations":{')
    return f"{begin}{found}{note},{end}" if found else f'{last[:-1]},"annotations":{{{note}}}}}'

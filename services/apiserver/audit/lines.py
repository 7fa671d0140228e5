"""Parts of the audit log's lines, and lines that have objects in them: those are put together aside."""

from __future__ import annotations

import logging
from functools import lru_cache

import orjson

from services.apiserver.audit.bodies import Body
from services.apiserver.authorization import DECISION, REASON

log = logging.getLogger(__name__)

# As Kubernetes bounds it where it truncates: a line with larger objects is kept without them.
MAX_LINE_BYTES = 100 * 1024
TRUNCATED = "audit.k8s.io/truncated"
# What is noted of most requests, in Kubernetes' word. Why is one of few reasons.
PERMITTED = "allow"
REMEMBERED_REASONS = 256
END = b"}\n"


@lru_cache(maxsize=REMEMBERED_REASONS)
def permitted_json(reason: str) -> bytes:
    """What is noted of a request of which nothing else is."""
    return b',"annotations":' + orjson.dumps({DECISION: PERMITTED, REASON: reason})


@lru_cache(maxsize=64)
def completed_json(code: int) -> bytes:
    """What is told of an answer that is no refusal."""
    return b'"responseStatus":{"metadata":{},"code":%d},' % code


class Objects:
    """A line that has objects in it: they are put there by whoever writes it, aside from the loop."""

    __slots__ = ("_bodies", "_first", "_last", "_omits_managed_fields", "held_bytes")

    def __init__(self, first: bytes, last: bytes, request: Body | None, answer: Body | None, *, omits_managed_fields: bool) -> None:
        self._first, self._last, self._omits_managed_fields = first, last, omits_managed_fields
        self._bodies = [(name, body) for name, body in (("requestObject", request), ("responseObject", answer)) if body is not None]
        size_bytes = sum(body.size_bytes for _, body in self._bodies)
        if size_bytes > MAX_LINE_BYTES:
            # It would be left out in the end: it is not held until then.
            self._bodies, self._last, size_bytes = [], truncated(last), 0
        self.held_bytes = len(first) + len(last) + size_bytes

    def line(self) -> bytes:
        """The whole line; without the objects, and saying so, where it would be longer than may be."""
        first, last, parts = self._first, self._last, []
        for name, body in self._bodies:
            if found := self._shown(body):
                parts.append(f'"{name}":'.encode() + found + b",")
        if len(first) + sum(map(len, parts)) + len(last) > MAX_LINE_BYTES:
            parts, last = [], truncated(self._last)
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


def truncated(last: bytes) -> bytes:
    """The end of a line whose objects were left out."""
    note = b'"%b":"true"' % TRUNCATED.encode()
    begin, found, end = last.partition(b',"annotations":{')
    return b"".join((begin, found, note, b",", end)) if found else b'%b,"annotations":{%b}}' % (last[:-1], note)

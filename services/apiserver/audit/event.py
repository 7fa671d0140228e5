"""What is known of one request for the audit log: an Event of ``audit.k8s.io/v1``, told at each stage that is kept."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, Any

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.service.tally import Count
from services.apiserver.audit.bodies import Body
from services.apiserver.audit.policy import COMPLETE, PANIC, RECEIVED, STARTED, Decision
from services.apiserver.audit.text import object_json, stamps
from services.apiserver.authorization import DECISION, REASON
from services.apiserver.results import Ref, Written

if TYPE_CHECKING:
    from services.apiserver.audit.backlog import Backlog

log = logging.getLogger(__name__)

# As Kubernetes bounds it where it truncates: a line with larger objects is kept without them.
MAX_LINE_BYTES = 100 * 1024
MAX_ANNOTATIONS, MAX_ANNOTATION_LETTERS = 64, 4096
TRUNCATED = "audit.k8s.io/truncated"
SUCCESS = meta.Status()
# What is noted of most requests, in Kubernetes' word. Why is one of few reasons.
PERMITTED = "allow"
REMEMBERED_REASONS = 256
# Annotations that show a part of an object: what webhooks have made of it.
OF_BODIES = "patch.webhook.admission.k8s.io/"


@lru_cache(maxsize=REMEMBERED_REASONS)
def permitted_json(reason: str) -> str:
    """What is noted of a request of which nothing else is."""
    return f',"annotations":{orjson.dumps({DECISION: PERMITTED, REASON: reason}).decode()}'


class Common:
    """What the events of some requests have in common: what becomes of them, and what they tell of who asks for what."""

    __slots__ = ("about", "backlog", "begin", "count", "decision", "ref", "tells_completion", "tells_receipt", "told")

    def __init__(self, backlog: Backlog, decision: Decision, count: Count, ref: Ref | None, told: str) -> None:
        """``count`` counts them, kept or not; ``told`` is what is told of all of them, as JSON."""
        self.backlog, self.decision, self.count, self.ref, self.told = backlog, decision, count, ref, told
        self.begin = f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"{decision.word}","auditID":"'
        self.about = object_json(ref) if ref is not None and told else ""
        self.tells_receipt, self.tells_completion = (stage not in decision.omitted_stages for stage in (RECEIVED, COMPLETE))


class AuditEvent:
    """One request, from its receipt on. ``received`` and all that follows tells the log of a stage, where that is kept."""

    __slots__ = (
        "_annotations",
        "_common",
        "_is_over",
        "_is_permitted",
        "_reason",
        "_received_seconds",
        "_request_body",
        "identity",
        "ref",
        "wants_response",
    )

    def __init__(self, common: Common, identity: str, received_seconds: float) -> None:
        self._common, self.identity, self._received_seconds, self.ref = common, identity, received_seconds, common.ref
        # Whether the authorizer lets it pass, and why it decides as it does; and what else is noted.
        self._is_permitted = False
        self._reason: str | None = None
        self._annotations: dict[str, str] | None = None
        self._request_body: Body | None = None
        self._is_over = False
        # Whether the object that is answered is kept.
        self.wants_response = common.decision.wants_response

    @property
    def wants_request(self) -> bool:
        """Whether the object that was sent is kept."""
        return self._common.decision.wants_request

    def annotate(self, key: str, value: str) -> None:
        """The first value of a key holds, as in Kubernetes; so many are kept, cut to so many letters."""
        if key.startswith(OF_BODIES) and not self.wants_request:
            return
        if key == REASON:
            if self._reason is None:
                self._reason = value[:MAX_ANNOTATION_LETTERS]
            return
        if self._annotations is None:
            self._annotations = {}
        if len(self._annotations) < MAX_ANNOTATIONS:
            self._annotations.setdefault(key, value[:MAX_ANNOTATION_LETTERS])

    def permitted(self) -> None:
        """The authorizer lets the request pass, and has told why, if it knows."""
        self._is_permitted = True

    def about(self, name: str) -> None:
        """What is created is called so, which its path does not say."""
        if name and self.ref is not None and not self.ref.name:
            self.ref = replace(self.ref, name=name)

    def sent(self, body: Body) -> None:
        """What came with the request, of one whose object is kept."""
        self._request_body = body

    def received(self) -> None:
        if self._common.tells_receipt:
            self._tell(RECEIVED, None, SUCCESS)

    def started(self, code: int) -> None:
        """Of an answer that goes on, its beginning."""
        if STARTED not in self._common.decision.omitted_stages:
            self._tell(STARTED, code, SUCCESS)

    def complete(self, code: int, status: meta.Status = SUCCESS, answer: Body | None = None) -> None:
        """The end, told once. ``status`` is that of a refusal."""
        if self._is_over:
            return
        self._is_over = True
        if self._common.tells_completion:
            self._tell(COMPLETE, code, status, answer)

    def panic(self, message: str) -> None:
        """The server failed."""
        if self._is_over:
            return
        self._is_over = True
        if PANIC not in self._common.decision.omitted_stages:
            self._tell(PANIC, 500, meta.Status(status="Failure", reason="InternalError", message=message))

    def begun(self) -> None:
        """The pipeline has an answer that goes on; a face knows better what it makes of it, and so of the others."""

    def concluded(self, code: int, status: meta.Status | None, found: object = None) -> None:
        """The pipeline has answered ``found``, or refused."""
        if isinstance(found, Written) and found.created and found.entry is not None:
            self.about(found.entry.name)

    def failed(self, error: Exception) -> None:
        """The pipeline has broken."""

    def _notes_json(self) -> str:
        notes = {} if self._reason is None else {REASON: self._reason}
        if self._is_permitted:
            notes = {DECISION: PERMITTED, REASON: self._reason or ""}
        if self._annotations is not None:
            notes |= self._annotations
        return f',"annotations":{orjson.dumps(notes).decode()}' if notes else ""

    def _tell(self, stage: str, code: int | None, status: meta.Status, answer: Body | None = None) -> None:
        common, ref, received, notes = self._common, self.ref, self._received_seconds, self._annotations
        about = common.about if ref is common.ref else object_json(ref) if ref is not None else ""
        answered = f'"responseStatus":{_status_json(code, status)},' if code is not None else ""
        noted = permitted_json(self._reason or "") if self._is_permitted and notes is None else self._notes_json()
        # The line up to its objects, and from there on, but for what ends it.
        first = f'{common.begin}{self.identity}","stage":"{stage}",{common.told}{about}{answered}'
        last = f"{stamps(received, received if stage == RECEIVED else time())}{noted}}}"
        request = self._request_body if stage != RECEIVED else None
        if request is None and answer is None:
            common.backlog.add(f"{first}{last}\n".encode())
        else:
            common.backlog.add(Objects(first, last, request, answer, common.decision.omits_managed_fields))


class Objects:
    """A line that has objects in it: they are put there by whoever writes it, aside from the loop."""

    __slots__ = ("_bodies", "_first", "_last", "_omits_managed_fields", "held_bytes")

    def __init__(self, first: str, last: str, request: Body | None, answer: Body | None, omits_managed_fields: bool) -> None:
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


def _status_json(code: int, status: meta.Status) -> str:
    if status is SUCCESS:
        return f'{{"metadata":{{}},"code":{code}}}'
    found: dict[str, Any] = {"metadata": {}, **codec.to_dict(status), "code": code}
    found.pop("kind", None)
    found.pop("apiVersion", None)
    return orjson.dumps(found).decode()

"""What is known of one request for the audit log: an Event of ``audit.k8s.io/v1``, told at each stage that is kept."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Any

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.service.authentication import User
from knarr.service.tally import Count
from services.apiserver.audit.bodies import Body
from services.apiserver.audit.lines import END, PERMITTED, Objects, completed_json, permitted_json
from services.apiserver.audit.policy import COMPLETE, NOTHING, PANIC, RECEIVED, STARTED, Decision
from services.apiserver.audit.text import object_parts, quoted, stamps
from services.apiserver.authorization import DECISION, REASON
from services.apiserver.results import Ref, Written

if TYPE_CHECKING:
    from services.apiserver.audit.backlog import Backlog

MAX_ANNOTATIONS, MAX_ANNOTATION_LETTERS = 64, 4096
SUCCESS = meta.Status()
# Annotations that show a part of an object: what webhooks have made of it.
OF_BODIES = "patch.webhook.admission.k8s.io/"


class Common:
    """What the events of some requests have in common: what becomes of them, and what they tell of who asks for what."""

    __slots__ = (
        "about",
        "about_end",
        "backlog",
        "begin",
        "completed",
        "completed_about",
        "count",
        "decision",
        "is_kept",
        "ref",
        "tells_completion",
        "tells_receipt",
        "told",
        "user",
        "wants_request",
        "wants_response",
    )

    def __init__(self, backlog: Backlog, decision: Decision, count: Count, user: User | None, ref: Ref | None, told: bytes) -> None:
        """``count`` counts them, kept or not; ``told`` is what is told of all of them, as JSON."""
        self.backlog, self.decision, self.count, self.user, self.ref, self.told = backlog, decision, count, user, ref, told
        self.is_kept, self.wants_request, self.wants_response = decision is not NOTHING, decision.wants_request, decision.wants_response
        self.begin = f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"{decision.word}","auditID":"'.encode()
        # Around the name of what is created, which its path does not say.
        self.about, self.about_end = object_parts(ref) if ref is not None and told else (b"", b"")
        # Most lines tell of the end, and what those have in common is long: it is one text.
        self.completed = f'","stage":"{COMPLETE}",'.encode() + told + self.about
        self.completed_about = self.completed + self.about_end
        self.tells_receipt, self.tells_completion = (stage not in decision.omitted_stages for stage in (RECEIVED, COMPLETE))


class AuditEvent:
    """One request, from its receipt on: each stage is told the log, where that is kept. Of most the log takes the event itself for the line
    of its end: that is put together later, among its like.

    ``is_permitted`` and ``reason``: whether the authorizer lets it pass, and why it decides as it does.
    """

    __slots__ = (
        "_annotations",
        "_code",
        "_ended",
        "_name",
        "_received",
        "_request_body",
        "common",
        "identity",
        "is_permitted",
        "reason",
    )

    def __init__(self, common: Common, identity: bytes) -> None:
        self.common, self.identity, self._received = common, identity, time_ns()
        self.is_permitted = False
        # And the name of what is created, where the path has none.
        self.reason = self._name = ""
        # What else is noted.
        self._annotations: dict[str, str] | None = None
        self._request_body: Body | None = None
        # What it was answered with, once it is over, and when.
        self._code = self._ended = 0
        if common.tells_receipt:
            self._tell(RECEIVED, None, SUCCESS, self._received)

    @property
    def wants_request(self) -> bool:
        """Whether the object that was sent is kept."""
        return self.common.wants_request

    @property
    def wants_response(self) -> bool:
        """Whether the object that is answered is kept."""
        return self.common.wants_response

    def annotate(self, key: str, value: str) -> None:
        """The first value of a key holds, as in Kubernetes; so many are kept, cut to so many letters."""
        if key.startswith(OF_BODIES) and not self.wants_request:
            return
        if self._annotations is None:
            self._annotations = {}
        if len(self._annotations) < MAX_ANNOTATIONS:
            self._annotations.setdefault(key, value[:MAX_ANNOTATION_LETTERS])

    def about(self, name: str) -> None:
        """What is created is called so, which its path does not say."""
        ref = self.common.ref
        if ref is not None and not ref.name:
            self._name = name

    def sent(self, body: Body) -> None:
        """What came with the request, of one whose object is kept."""
        self._request_body = body

    def started(self, code: int) -> None:
        """Of an answer that goes on, its beginning."""
        if STARTED not in self.common.decision.omitted_stages:
            self._tell(STARTED, code, SUCCESS, time_ns())

    def complete(self, code: int, status: meta.Status = SUCCESS, answer: Body | None = None) -> None:
        """The end, told once. ``status`` is that of a refusal."""
        if self._code:
            return
        self._code, self._ended, common = code, time_ns(), self.common
        if common.tells_completion:
            if status is SUCCESS and answer is None and self._request_body is None:
                common.backlog.end(self)
            else:
                self._tell(COMPLETE, code, status, self._ended, answer)

    def panic(self, message: str) -> None:
        """The server failed."""
        if self._code:
            return
        self._code = 500
        if PANIC not in self.common.decision.omitted_stages:
            self._tell(PANIC, 500, meta.Status(status="Failure", reason="InternalError", message=message), time_ns())

    def begun(self) -> None:
        """The pipeline has an answer that goes on; a face knows better what it makes of it, and so of the others."""

    def concluded(self, code: int, status: meta.Status | None, found: object = None) -> None:
        """The pipeline has answered ``found``, or refused."""
        if not self._name and isinstance(found, Written) and found.created and found.entry is not None:
            self.about(found.entry.name)

    def failed(self, error: Exception) -> None:
        """The pipeline has broken."""

    def line(self) -> tuple[bytes, ...]:
        """The parts of the whole line of its end, of one that was not refused and has no objects."""
        common = self.common
        about = common.completed + self._named() + common.about_end if self._name else common.completed_about
        notes = permitted_json(self.reason[:MAX_ANNOTATION_LETTERS]) if self.is_permitted and self._annotations is None else self._notes()
        return common.begin, self.identity, about, completed_json(self._code), stamps(self._received, self._ended), notes, END

    def _named(self) -> bytes:
        """The name of what was created, where it is told."""
        return f',"name":{quoted(self._name)}'.encode() if self.common.about else b""

    def _notes(self) -> bytes:
        reason = self.reason[:MAX_ANNOTATION_LETTERS]
        notes = {REASON: reason} if reason else {}
        if self.is_permitted:
            notes = {DECISION: PERMITTED, REASON: reason}
        if self._annotations is not None:
            notes |= self._annotations
        return b',"annotations":' + orjson.dumps(notes) if notes else b""

    def _tell(self, stage: str, code: int | None, status: meta.Status, told_ns: int, answer: Body | None = None) -> None:
        """Of what is seldom, at once."""
        common = self.common
        answered = _status_json(code, status) if code is not None else b""
        named = self._named() if self._name else b""
        first = (
            common.begin,
            self.identity,
            f'","stage":"{stage}",'.encode(),
            common.told,
            common.about,
            named,
            common.about_end,
            answered,
        )
        last = stamps(self._received, told_ns), self._notes()
        request = self._request_body if stage != RECEIVED else None
        if request is None and answer is None:
            common.backlog.add(b"".join((*first, *last, END)))
            return
        objects = Objects(
            b"".join(first), b"".join((*last, b"}")), request, answer, omits_managed_fields=common.decision.omits_managed_fields
        )
        common.backlog.add(objects)


def _status_json(code: int, status: meta.Status) -> bytes:
    if status is SUCCESS:
        return completed_json(code)
    found: dict[str, Any] = {"metadata": {}, **codec.to_dict(status), "code": code}
    found.pop("kind", None)
    found.pop("apiVersion", None)
    return b'"responseStatus":%b,' % orjson.dumps(found)

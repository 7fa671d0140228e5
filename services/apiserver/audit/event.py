"""What is known of one request for the audit log: an Event of ``audit.k8s.io/v1``, told at each stage that is kept."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.service.tally import Count
from services.apiserver.audit.bodies import Body
from services.apiserver.audit.lines import PERMITTED, Line, Objects
from services.apiserver.audit.policy import COMPLETE, PANIC, RECEIVED, STARTED, Decision
from services.apiserver.audit.text import object_parts
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
        "count",
        "decision",
        "held_bytes",
        "ref",
        "tells_completion",
        "tells_receipt",
        "told",
    )

    def __init__(self, backlog: Backlog, decision: Decision, count: Count, ref: Ref | None, told: str) -> None:
        """``count`` counts them, kept or not; ``told`` is what is told of all of them, as JSON."""
        self.backlog, self.decision, self.count, self.ref, self.told = backlog, decision, count, ref, told
        self.begin = f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"{decision.word}","auditID":"'
        # Around the name of what is created, which its path does not say.
        self.about, self.about_end = object_parts(ref) if ref is not None and told else ("", "")
        self.held_bytes = len(self.begin) + len(told) + len(self.about) + len(self.about_end)
        self.tells_receipt, self.tells_completion = (stage not in decision.omitted_stages for stage in (RECEIVED, COMPLETE))


class AuditEvent:
    """One request, from its receipt on. ``received`` and all that follows tells the log of a stage, where that is kept."""

    __slots__ = (
        "_annotations",
        "_common",
        "_is_over",
        "_is_permitted",
        "_name",
        "_reason",
        "_received_seconds",
        "_request_body",
        "identity",
        "wants_response",
    )

    def __init__(self, common: Common, identity: str, received_seconds: float) -> None:
        self._common, self.identity, self._received_seconds = common, identity, received_seconds
        # Whether the authorizer lets it pass, and why it decides as it does; and what else is noted.
        self._is_permitted = False
        self._reason: str | None = None
        self._annotations: dict[str, str] | None = None
        self._name = ""
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
        ref = self._common.ref
        if ref is not None and not ref.name:
            self._name = name

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
        if not self._name and isinstance(found, Written) and found.created and found.entry is not None:
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
        common, received = self._common, self._received_seconds
        answered = f'"responseStatus":{_status_json(code, status)},' if code is not None else ""
        # Of most requests nothing else is noted, and that need not be written yet.
        reason = self._reason or "" if self._is_permitted and self._annotations is None else None
        notes = self._notes_json() if reason is None else ""
        line = Line(common, self.identity, stage, self._name, answered, received, received if stage == RECEIVED else time(), reason, notes)
        request = self._request_body if stage != RECEIVED else None
        if request is None and answer is None:
            common.backlog.add(line)
        else:
            common.backlog.add(Objects(*line.halves, request, answer, omits_managed_fields=common.decision.omits_managed_fields))


def _status_json(code: int, status: meta.Status) -> str:
    if status is SUCCESS:
        return f'{{"metadata":{{}},"code":{code}}}'
    found: dict[str, Any] = {"metadata": {}, **codec.to_dict(status), "code": code}
    found.pop("kind", None)
    found.pop("apiVersion", None)
    return orjson.dumps(found).decode()

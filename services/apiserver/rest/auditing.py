"""The audit events of REST's requests: begun once it is known who asks for what, ended with the answer."""

from __future__ import annotations

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from knarr.service.authentication import User
from services.apiserver.audit.auditor import Auditor, identity_of
from services.apiserver.audit.bodies import answered
from services.apiserver.audit.event import SUCCESS, AuditEvent, Common
from services.apiserver.audit.text import MAX_URI_LETTERS, REMEMBERED, new_id
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Pieces, Relay, Response, Stream, Upgrade
from services.apiserver.rest.routing import Target
from services.apiserver.results import Ref

AUDIT_ID, FORWARDED, REAL, AGENT = b"audit-id", b"x-forwarded-for", b"x-real-ip", b"user-agent"
# Requests that come again are remembered, unless a client's own part of what is told of them is longer.
REMEMBERED_LETTERS = 1024
MAX_ADDRESSES, MAX_ADDRESS_LETTERS = 16, 64
ONGOING = (Stream, Upgrade, Relay)
# What did not come whole is answered to nobody; nginx's number for it.
GONE = 499
GONE_STATUS = meta.Status(status="Failure", message="the client went away before its request was complete")


def name(request: Request) -> None:
    """Gives a request the name by which its answer and the log tell of it, also where none is kept."""
    named = request.headers.get(AUDIT_ID)
    request.identity = identity = new_id() if named is None else identity_of(named)
    request.marks = b"audit-id: %b\r\n" % identity


class Auditing:
    """``begin`` sets the event of a request, where anything is kept of it. Most requests come again: what is told of them is put together
    once, and remembered by the caller and the reference, which are the same objects then."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._known: dict[tuple[object, ...], Common] = {}

    def begin(self, request: Request, verb: str, ref: Ref | None, user: User | None) -> None:
        """``ref`` is None for what is no resource; ``user`` for a caller who is not known, and then nothing is remembered of the path."""
        headers, key, common = request.headers, None, None
        if ref is not None and user is not None and FORWARDED not in headers and REAL not in headers:
            scope = request.scope
            client = scope.get("client")
            key = id(user), id(ref), verb, client and client[0], headers.get(AGENT), scope["query_string"]
            common = self._known.get(key)
        if common is None or common.user is not user or common.ref is not ref:
            common = self._common(request, verb, ref, user)
            if key is not None and user is not None and user.impersonator is None and _letters(request) <= REMEMBERED_LETTERS:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[key] = common
        common.count.value += 1
        if common.is_kept:
            request.audit = AuditEvent(common, request.identity)

    def forget(self) -> None:
        """What is served has changed: the references are not to keep what is gone."""
        self._known.clear()

    def _common(self, request: Request, verb: str, ref: Ref | None, user: User | None) -> Common:
        query = request.scope["query_string"]
        uri = f"{request.path}?{query.decode('latin-1')}" if query else request.path
        return self._auditor.common(
            user, verb, ref, uri[:MAX_URI_LETTERS], path=request.path, addresses=addresses(request), agent=request.agent
        )

    def refused(self, request: Request, error: StatusError) -> None:
        """Of a caller who is not known."""
        if request.audit is None:
            self.begin(request, request.method.lower(), None, None)


def _letters(request: Request) -> int:
    """How much a client has chosen of what is told of its request."""
    return len(request.path) + len(request.scope["query_string"]) + len(request.headers.get(AGENT, b""))


def addresses(request: Request) -> tuple[str, ...]:
    """Whence a request comes, as its headers and its connection say; the last one is what is known."""
    client = request.scope.get("client")
    own = str(client[0]) if client else ""
    headers = request.headers
    if FORWARDED not in headers and REAL not in headers:
        return (own,) if own else ()
    named = [part.strip()[:MAX_ADDRESS_LETTERS] for part in headers.get(FORWARDED, b"").decode("latin-1").split(",", MAX_ADDRESSES)]
    real = headers.get(REAL, b"").decode("latin-1").strip()[:MAX_ADDRESS_LETTERS]
    found = [address for address in dict.fromkeys((*named[:MAX_ADDRESSES], real)) if address and address != own]
    return (*found, own) if own else tuple(found)


def conclude(
    event: AuditEvent, answer: Response | Stream | Pieces | Upgrade | Relay, refusal: meta.Status | None, target: Target | None
) -> None:
    """Tells what a request is answered with; of what goes on, that it has begun."""
    if refusal is None and isinstance(answer, Response) and not event.common.wants_response:
        event.complete(answer.status)
        return
    if isinstance(answer, ONGOING):
        event.started(answer.status)
        return
    status = refusal if refusal is not None and refusal.code == answer.status else SUCCESS
    body = None
    if event.wants_response and isinstance(answer, Response) and answer.body:
        answer.join()
        body = answered(answer.body, answer.content_type, target.version if target is not None else None)
    event.complete(answer.status, status, body)

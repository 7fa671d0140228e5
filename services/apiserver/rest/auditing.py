"""The audit events of REST's requests: begun once it is known who asks for what, ended with the answer."""

from __future__ import annotations

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from knarr.service.authentication import User
from services.apiserver.audit.auditor import Auditor
from services.apiserver.audit.bodies import answered
from services.apiserver.audit.event import SUCCESS, AuditEvent
from services.apiserver.audit.text import MAX_URI_LETTERS
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Pieces, Relay, Response, Stream, Upgrade
from services.apiserver.rest.routing import Target
from services.apiserver.results import Ref

AUDIT_ID, FORWARDED, REAL = b"audit-id", b"x-forwarded-for", b"x-real-ip"
MAX_ADDRESSES, MAX_ADDRESS_LETTERS = 16, 64
# What did not come whole is answered to nobody; nginx's number for it.
GONE = 499
GONE_STATUS = meta.Status(status="Failure", message="the client went away before its request was complete")


class Auditing:
    """``begin`` sets the event of a request, where anything is kept of it."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor

    def begin(self, request: Request, verb: str, ref: Ref | None, user: User | None) -> None:
        """``ref`` is None for what is no resource; ``user`` for a caller who is not known, and then nothing is remembered of the path."""
        scope, headers = request.scope, request.headers
        query = scope["query_string"]
        uri = f"{request.path}?{query.decode('latin-1')}" if query else request.path
        request.audit = event = self._auditor.begin(
            user,
            verb,
            ref,
            uri[:MAX_URI_LETTERS],
            path=request.path,
            addresses=addresses(request),
            agent=request.agent,
            identity=headers[AUDIT_ID].decode("latin-1") if AUDIT_ID in headers else "",
        )
        if event is not None:
            request.marks += b"audit-id: %b\r\n" % event.identity.encode()

    def refused(self, request: Request, error: StatusError) -> None:
        """Of a caller who is not known."""
        if request.audit is None:
            self.begin(request, request.method.lower(), None, None)


def ref_of(target: Target) -> Ref:
    return Ref(target.version, target.namespace, target.name, target.subresource.name if target.subresource is not None else "")


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
    if isinstance(answer, Stream | Upgrade | Relay):
        event.started(answer.status)
        return
    status = refusal if refusal is not None and refusal.code == answer.status else SUCCESS
    body = None
    if event.wants_response and isinstance(answer, Response) and answer.body:
        answer.join()
        body = answered(answer.body, answer.content_type, target.version if target is not None else None)
    event.complete(answer.status, status, body)

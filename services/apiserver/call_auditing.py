"""The audit events of the gRPC face's calls: the pipeline tells what they are answered with, the end of a call whatever else there is."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import REASONS
from knarr.service.authentication import User
from services.apiserver.audit.auditor import Auditor, PipelineEvent
from services.apiserver.audit.bodies import packed, sent
from services.apiserver.audit.event import SUCCESS
from services.apiserver.request import Request
from services.apiserver.results import Ref

SERVICE = "/knarr.api.apiserver.v1.ResourceService/"
AGENT, IDENTITY = "user-agent", "audit-id"
CODES = {name: code for code, name in reversed(REASONS.values())}


def begun(auditor: Auditor, user: User, verb: str, ref: Ref, context: Any) -> PipelineEvent | None:
    """The event of a call, which ends with it."""
    given = dict(context.invocation_metadata() or ())
    agent, identity = str(given.get(AGENT, "")), str(given.get(IDENTITY, "")).encode()
    common = auditor.common(user, verb, ref, SERVICE + verb, addresses=address(context.peer()), agent=agent)
    event = auditor.begin(common, identity)
    if event is None:
        return None
    context.set_trailing_metadata(((IDENTITY, event.identity.decode()),))
    context.add_done_callback(partial(_ended, event))
    return event


def _ended(event: PipelineEvent, context: Any) -> None:
    """Of what the pipeline did not end: a stream, a body that was none, a caller who left."""
    found = context.code()
    code = found if isinstance(found, grpc.StatusCode) else None
    if code in (None, grpc.StatusCode.OK) and not context.cancelled():
        event.complete(200)
        return
    name = code.name if code is not None else "CANCELLED"
    details = str(context.details() or "the client went away")
    event.complete(CODES.get(name, 499), meta.Status(status="Failure", message=details) if details else SUCCESS)


def address(peer: str) -> tuple[str, ...]:
    """The address in what gRPC calls a peer: ``ipv4:127.0.0.1:4711``, ``ipv6:%5B::1%5D:4711``, ``unix:…``."""
    kind, _, rest = peer.partition(":")
    return (unquote(rest).rpartition(":")[0].strip("[]"),) if kind in ("ipv4", "ipv6") else ()


def note_body(wanted: Request, body: AnyMessage) -> None:
    """What came with a call, where it is kept."""
    if isinstance(wanted.audit, PipelineEvent) and wanted.audit.wants_request:
        wanted.audit.sent(packed(body, wanted.ref))


def note_patch(wanted: Request, patch: bytes) -> None:
    if isinstance(wanted.audit, PipelineEvent) and wanted.audit.wants_request:
        wanted.audit.sent(sent(patch, "application/json", None))

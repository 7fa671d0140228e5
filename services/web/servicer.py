"""WebService: what a viewer's recorder remembers, by gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import grpc
import orjson

from knarr.api.web.v1 import web_service_pb2 as messages
from knarr.api.web.v1 import web_service_pb2_grpc as stubs
from services.web import history
from services.web.api import Refused, silence
from services.web.desk import Desk
from services.web.packed import ObjectKey
from services.web.reception import Reception

DEFAULT_LIMIT = 100
# Objects of one piece of an answer; clients take messages of 4 MiB unless told otherwise, and an object may be one of them.
PIECE_BYTES = 512 * 1024
BEARER = "bearer "
CODES = {401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED, 429: grpc.StatusCode.RESOURCE_EXHAUSTED}


class WebServicer(stubs.WebServiceServicer):
    """Answers each caller from the desk of him whose token he shows."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    async def GetStatus(self, request: messages.GetStatusRequest, context: Any) -> messages.GetStatusResponse:
        desk = await self._desk(context)
        recorder = desk.recorder
        answer = messages.GetStatusResponse(
            followed=[
                messages.Followed(
                    resource=one.followed.name,
                    objects=len(recorder.texts(one.followed.name)),
                    problem="not listed yet" if one.standing is None else one.standing,
                )
                for one in desk.followers
            ],
            earliest_revision=recorder.floor,
            latest_revision=recorder.latest,
            changes=len(recorder.changes),
            bytes=recorder.remembered_bytes,
            browsers=desk.watching,
            not_kept="the server was not told where" if desk.archive is None else desk.archive.problem,
        )
        if recorder.changes:
            answer.remembered_since.FromDatetime(_time(recorder.changes[0].at))
        return answer

    async def ListChanges(self, request: messages.ListChangesRequest, context: Any) -> messages.ListChangesResponse:
        if bool(request.resource) != bool(request.name):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "resource and name: give both, or neither")
        desk = await self._desk(context)
        key = ObjectKey(request.resource, request.namespace, request.name) if request.resource else None
        found = history.latest(desk.recorder, request.limit or DEFAULT_LIMIT, request.namespace, key)
        return messages.ListChangesResponse(changes=map(_change, found))

    async def GetChange(self, request: messages.GetChangeRequest, context: Any) -> messages.GetChangeResponse:
        desk = await self._desk(context)
        try:
            found = history.changed(desk.recorder, request.revision)
        except LookupError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        differences = (
            messages.Difference(path=one["path"], before=_json(one["before"]), after=_json(one["after"])) for one in found["differences"]
        )
        return messages.GetChangeResponse(change=_change(found), differences=differences)

    async def ListObjects(self, request: messages.ListObjectsRequest, context: Any) -> AsyncIterator[messages.ListObjectsResponse]:
        desk = await self._desk(context)
        try:
            found = desk.recorder.at(request.revision or desk.recorder.latest)
        except LookupError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        if request.resource and request.resource not in {one.followed.name for one in desk.followers}:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"resource: {request.resource[:100]!r} is none that is followed")
        wanted = {request.resource: found.get(request.resource, [])} if request.resource else found
        for piece in _pieces(wanted, request.namespace):
            yield piece

    async def ExplainPod(self, request: messages.ExplainPodRequest, context: Any) -> messages.ExplainPodResponse:
        if not (request.namespace and request.pod):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "namespace and pod: must not be empty")
        desk = await self._desk(context)
        answer = messages.ExplainPodResponse()
        for link in history.chain(desk.recorder, ObjectKey("pods", request.namespace, request.pod)):
            step = answer.steps.add(step=link.step, revision=link.revision, resource=link.resource, name=link.name, writer=link.writer)
            step.at.FromDatetime(_time(link.at / 1000))
        return answer

    async def _desk(self, context: Any) -> Desk:
        shown = next((str(value) for key, value in context.invocation_metadata() if key == "authorization"), "")
        if not shown.lower().startswith(BEARER):
            words = "authorization: show the bearer token of whom you look as, as in `authorization: Bearer …`"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, words)
        try:
            desk = await self._reception.desk_of(shown[len(BEARER) :].strip())
        except Refused as error:
            await context.abort(CODES.get(error.code, grpc.StatusCode.UNAVAILABLE), str(error))
        except (aiohttp.ClientError, OSError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, silence(error))
        await desk.listed()
        return desk


def _pieces(found: dict[str, list[bytes]], namespace: str) -> Iterator[messages.ListObjectsResponse]:
    piece, size = messages.ListObjectsResponse(), 0
    for resource, texts in found.items():
        for text in texts:
            if namespace and orjson.loads(text)["metadata"].get("namespace", "") != namespace:
                continue
            if piece.objects and size + len(text) > PIECE_BYTES:
                yield piece
                piece, size = messages.ListObjectsResponse(), 0
            piece.objects.add(resource=resource, json=text.decode())
            size += len(text)
    yield piece


def _change(found: dict[str, Any]) -> messages.Change:
    change = messages.Change(**{name: found[name] for name in ("revision", "type", "resource", "namespace", "name", "writer")})
    change.at.FromDatetime(_time(found["at"] / 1000))
    return change


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()

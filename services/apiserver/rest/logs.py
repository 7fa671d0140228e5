"""GET …/pods/<name>/log: a container's output as plain text, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.machinery.errors import Cause, invalid
from services.apiserver.api import Api
from services.apiserver.request import GET
from services.apiserver.rest.query import Query
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import TEXT, Stream
from services.apiserver.rest.routing import Target

# How long the node may take to refuse with an HTTP status; the answer begins then, output or not.
REFUSAL_SECONDS = 2.0


class Logs:
    """Reads logs through the node of the pod."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def read(self, request: Request, target: Target) -> Stream:
        """Raises what the pod or its node says before the first byte; a later error breaks the connection off."""
        output = await self._api.logs(request_of(request, target, GET, log_request(request.query, target)))
        first = asyncio.ensure_future(_next(output))
        try:
            await asyncio.wait({first}, timeout=REFUSAL_SECONDS)
        except asyncio.CancelledError:
            first.cancel()
            raise
        if first.done():
            first.result()
        return Stream(_chunks(first, output), TEXT, kind="log", abandon=first.cancel)


async def _next(output: AsyncIterator[bytes]) -> bytes | None:
    return await anext(output, None)


async def _chunks(first: asyncio.Future[bytes | None], output: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        chunk = await first
        while chunk is not None:
            if chunk:
                yield chunk
            chunk = await anext(output, None)
    finally:
        first.cancel()
        if isinstance(output, AsyncGenerator):
            await output.aclose()


def log_request(query: Query, target: Target) -> face.LogRequest:
    """The parameters of PodLogOptions; raises Invalid with every cause, BadRequest for what is no number."""
    wanted = face.LogRequest(
        namespace=target.namespace,
        pod=target.name,
        container=query.text("container"),
        follow=query.flag("follow"),
        previous=query.flag("previous"),
        timestamps=query.flag("timestamps"),
        since_time=query.text("sinceTime"),
    )
    causes: list[Cause] = []
    for parameter, field, least in (("tailLines", "tail_lines", 0), ("limitBytes", "limit_bytes", 1), ("sinceSeconds", "since_seconds", 1)):
        value = query.integer(parameter)
        if value is None:
            continue
        setattr(wanted, field, value)
        if value < least:
            problem = "must be greater than or equal to 0" if least == 0 else "must be greater than 0"
            causes.append(Cause("FieldValueInvalid", f"Invalid value: {value}: {problem}", parameter))
    if wanted.since_time and wanted.HasField("since_seconds"):
        causes.append(Cause("FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", ""))
    if causes:
        raise invalid("PodLogOptions", target.name, causes)
    return wanted

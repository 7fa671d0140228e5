"""GET …/pods/<name>/log: a container's output as plain text, chunk by chunk; over a WebSocket a message for each."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.machinery.errors import StatusError, bad_request
from services.apiserver.api import Api
from services.apiserver.pipeline.streams import NO_OUTPUT
from services.apiserver.request import GET
from services.apiserver.rest.metrics import STREAMS
from services.apiserver.rest.query import Query
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.request import Receive, Request, Send
from services.apiserver.rest.response import TEXT, Response, Stream
from services.apiserver.rest.routing import Target
from services.apiserver.rest.sockets import REASON_LETTERS, until_first

# How long the node may take to refuse with an HTTP status; the answer begins then, output or not.
REFUSAL_SECONDS = 2.0
# Of WebSockets; who offers none gets bytes.
BINARY, BASE64 = PROTOCOLS = ("binary.k8s.io", "base64.binary.k8s.io")


class Logs:
    """Reads logs through the node of the pod. ``ending`` is set when the server stops."""

    def __init__(self, api: Api, ending: asyncio.Event) -> None:
        self._api = api
        self._ending = ending

    async def read(self, request: Request, target: Target) -> Stream | Response:
        """Raises what the pod or its node says before the first byte; a later error breaks the connection off."""
        output = await self._output(request, target)
        return Response(b"", 204, TEXT) if output is NO_OUTPUT else await self._begun(output)

    async def _output(self, request: Request, target: Target) -> AsyncIterator[bytes]:
        return await self._api.logs(request_of(request, target, GET, log_request(request.query, target)))

    async def _begun(self, output: AsyncIterator[bytes]) -> Stream:
        first = asyncio.ensure_future(_next(output))
        try:
            await asyncio.wait({first}, timeout=REFUSAL_SECONDS)
        except asyncio.CancelledError:
            first.cancel()
            raise
        if first.done():
            first.result()
        return Stream(_chunks(first, output), TEXT, kind="log", abandon=first.cancel)

    async def serve(self, request: Request, target: Target, receive: Receive, send: Send) -> None:
        """Raises, before the WebSocket is accepted, what ``read`` raises; a later error is the reason for which the connection ends."""
        offered = request.scope["subprotocols"]
        protocol = next((name for name in PROTOCOLS if name in offered), None)
        if offered and protocol is None:
            raise bad_request(f"none of the offered WebSocket protocols is served: {', '.join(PROTOCOLS)}")
        stream = await self._begun(await self._output(request, target))
        try:
            await receive()
            await send({"type": "websocket.accept", "subprotocol": protocol})
            with suppress(OSError), STREAMS.labels("log").track_inprogress():
                try:
                    await until_first(_write(stream, protocol == BASE64, send), receive, self._ending)
                    await send({"type": "websocket.close", "code": 1000})
                except StatusError as error:
                    await send({"type": "websocket.close", "code": 1011, "reason": error.status.message[:REASON_LETTERS]})
        finally:
            stream.abandon()
            await stream.chunks.aclose()


async def _write(stream: Stream, base64: bool, send: Send) -> None:
    async for chunk in stream.chunks:
        await send({"type": "websocket.send", **({"text": b64encode(chunk).decode()} if base64 else {"bytes": chunk})})


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
    """The parameters of PodLogOptions; raises BadRequest for what is no number."""
    wanted = face.LogRequest(
        namespace=target.namespace,
        pod=target.name,
        container=query.text("container"),
        follow=query.flag("follow"),
        previous=query.flag("previous"),
        timestamps=query.flag("timestamps"),
        since_time=query.moment("sinceTime"),
    )
    for parameter, field in (("tailLines", "tail_lines"), ("limitBytes", "limit_bytes"), ("sinceSeconds", "since_seconds")):
        if (value := query.integer(parameter)) is not None:
            setattr(wanted, field, value)
    if "stream" in query:
        wanted.stream = query.text("stream")
    return wanted

"""Sends answers, each kind in its own way."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from knarr.machinery.errors import StatusError
from knarr.service.presence import while_there
from services.apiserver.rest.errors import error_response
from services.apiserver.rest.finish import finished, is_finished
from services.apiserver.rest.metrics import request_seconds
from services.apiserver.rest.pieces import cut, is_long, send_pieces
from services.apiserver.rest.request import UNREAD_BYTES, Request, Send
from services.apiserver.rest.response import CLOSE, Answer, Pieces, Relay, Response, Stream, Upgrade, marked
from services.apiserver.rest.streams import Streams

# What is written part by part.
IN_PARTS = (Stream, Pieces)


class Delivery:
    """``end_of`` makes what is called at the end of a request's stream, which may come behind its task; None where nobody is to be told."""

    def __init__(self, streams: Streams, end_of: Callable[[Request, int], Callable[[], object] | None]) -> None:
        self._streams, self._end_of = streams, end_of

    async def send(self, request: Request, answer: Answer, started: float, send: Send) -> None:
        """``started`` is when the request came, by ``perf_counter``."""
        if isinstance(answer, Upgrade):
            refusal = await self._upgrade(request, answer)
            if refusal is None:
                return
            answer = refusal
        if isinstance(answer, Relay):
            await _relay(request, answer, send)
            return
        if request.marks and isinstance(answer, IN_PARTS):
            answer.headers = [*answer.headers, *marked(request.marks)]
        if isinstance(answer, Stream):
            if (on_end := self._end_of(request, answer.status)) is not None:
                answer.on_end = on_end
            await self._streams.send(request, answer, send)
            return
        if isinstance(answer, Pieces):
            await send_pieces(request, answer, send)
            request_seconds(request.verb).observe(perf_counter() - started)
            return
        if not is_finished(request, answer):
            answer = await finished(request, answer)
        request_seconds(request.verb).observe(perf_counter() - started)
        await _send_whole(request, answer, send)

    async def _upgrade(self, request: Request, answer: Upgrade) -> Response | None:
        """What is answered instead where the connection cannot be given over."""
        try:
            await self._streams.serve(request, answer)
        except StatusError as error:
            return error_response(error)
        finally:
            if request.audit is not None:
                request.audit.complete(answer.status)
        return None


async def _relay(request: Request, answer: Relay, send: Send) -> None:
    try:
        await while_there(request, answer.run(send))
    finally:
        if request.audit is not None:
            request.audit.complete(answer.status)


async def _send_whole(request: Request, answer: Response, send: Send) -> None:
    unread = request.leaves_much_unread
    if unread:
        answer.headers = [*answer.headers, CLOSE]
    if request.method != "HEAD" and is_long(answer):
        if request.marks:
            answer.headers = [*answer.headers, *marked(request.marks)]
        await send_pieces(request, cut(answer), send)
        return
    if answer.before:
        answer.join()
    if answer.headers or request.method == "HEAD" or not request.answer(answer.head(request.marks), answer.body):
        if request.marks:
            answer.headers = [*answer.headers, *marked(request.marks)]
        await send(answer.start())
        await send({"type": "http.response.body", "body": answer.body})
    if unread and len(answer.body) < UNREAD_BYTES:
        request.linger()

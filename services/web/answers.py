"""What handlers of the page's server have in common: what a query must say, JSON, and what others had against answering, in HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
import orjson
from aiohttp import web

from services.web.api import Refused, silence
from services.web.parts import Unanswered

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def said(request: web.Request, name: str) -> str:
    """What the query says, which must say it."""
    if not (value := request.query.get(name, "")):
        raise web.HTTPBadRequest(text=f"the query must say {name}=…")
    return value


def number(request: web.Request, name: str) -> int:
    value = said(request, name)
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise web.HTTPBadRequest(text=f"{name}={value[:50]} is no number")
    return int(value)


class Answer(web.Response):
    """JSON, forgotten once it is sent: aiohttp keeps an answer until its connection brings another request, and some have megabytes."""

    def __init__(self, text: bytes) -> None:
        super().__init__(body=text, content_type="application/json")

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        self.body = None


def json(value: object) -> web.Response:
    return Answer(orjson.dumps(value))


def answering(handler: Handler) -> Handler:
    """Says in HTTP what others had against answering."""

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as error:
            return web.json_response({"message": str(error)}, status=error.code)
        except Unanswered as error:
            return web.json_response({"message": str(error)}, status=503)
        except LookupError as error:
            return web.json_response({"message": str(error)}, status=404)
        except (aiohttp.ClientError, OSError) as error:
            return web.json_response({"message": silence(error)}, status=502)

    return answered

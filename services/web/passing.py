"""Requests of the page that are the API server's to answer, passed on as the viewer's: YAML, logs, dry runs, reviews.

What comes back is told to be JSON, YAML or text, whatever it is: a page that a pod serves must not run as this one.
"""

from __future__ import annotations

import aiohttp
from aiohttp import web

from services.web.api import Api

BELOW = "/cluster"
PLAIN = "text/plain; charset=utf-8"
TYPES = {"application/json": "application/json", "application/yaml": "text/plain; charset=utf-8"}
SENT = ("Accept", "Content-Type")
MOST_BODY_BYTES = 4 * 1024 * 1024


async def passed_on(api: Api, request: web.Request) -> web.StreamResponse:
    """Answers ``/cluster/PATH?QUERY`` with what the API server says to ``/PATH?QUERY``, as it comes."""
    path = request.rel_url.raw_path_qs.removeprefix(BELOW)
    body = await request.read() if request.can_read_body else None
    headers = {name: request.headers[name] for name in SENT if name in request.headers}
    async with api.asked(request.method, path, body, headers) as answer:
        kind = TYPES.get(answer.content_type, PLAIN)
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": kind})
        warnings = answer.headers.getall("Warning", [])
        if warnings:
            response.headers["Warning"] = ", ".join(warnings)
        await response.prepare(request)
        try:
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
        except (aiohttp.ClientError, OSError):
            # What has begun has no room for words: that it is not whole is told by breaking off.
            if request.transport is not None:
                request.transport.abort()
        return response

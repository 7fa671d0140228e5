"""HTTP requests as the pipeline's requests."""

from __future__ import annotations

import asyncio
from typing import Any

from services.apiserver.request import REQUEST_SECONDS, Request
from services.apiserver.rest import request as http
from services.apiserver.rest.routing import Target


def request_of(request: http.Request, target: Target, verb: str, options: Any) -> Request:
    """What a client wants of the pipeline; raises BadRequest for a timeout that is none."""
    return Request(request.user, verb, target.ref, options, deadline_of(request), request.agent, request.audit)


def deadline_of(request: http.Request) -> float:
    """The event loop's time at which the client gives up: after ``?timeout=``, if that is shorter than any request may take."""
    seconds = request.query.seconds("timeout") if b"timeout=" in request.scope["query_string"] else None
    if seconds is None or not 0 < seconds < REQUEST_SECONDS:
        seconds = REQUEST_SECONDS
    return asyncio.get_running_loop().time() + seconds

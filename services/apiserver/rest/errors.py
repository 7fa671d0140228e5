"""Errors as HTTP answers: a ``Status`` as the body, and the headers that go with it."""

from __future__ import annotations

from knarr.machinery import codec
from knarr.machinery.errors import StatusError, status_error
from services.apiserver.rest.response import Response


def error_response(error: StatusError) -> Response:
    """The answer to a refused request, on a line of its own, with Retry-After where the Status names a delay."""
    headers = []
    delay = error.status.details.retry_after_seconds
    if delay:
        headers.append((b"retry-after", b"%d" % delay))
    if error.code == 401:
        headers.append((b"www-authenticate", b'Bearer realm="knarr"'))
    if error.code == 413:
        headers.append((b"connection", b"close"))
    return Response(codec.to_json(error.status) + b"\n", error.code or 500, headers=headers)


def no_such_resource() -> StatusError:
    error = status_error("NotFound", "the server could not find the requested resource")
    error.status.details.SetInParent()
    return error


def method_not_allowed() -> StatusError:
    error = status_error("MethodNotAllowed", "the server does not allow this method on the requested resource")
    error.status.details.SetInParent()
    return error

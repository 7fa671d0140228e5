"""Errors as HTTP answers: a ``Status`` as the body, and the headers that go with it."""

from __future__ import annotations

from knarr.machinery import codec
from knarr.machinery.envelope import wrap
from knarr.machinery.errors import StatusError, status_error
from services.apiserver.rest import negotiation
from services.apiserver.rest.objects import to_yaml
from services.apiserver.rest.response import Response, warning_headers


def error_response(error: StatusError, accept: bytes = b"") -> Response:
    """The answer to a refused request in the form that the client wants, with Retry-After where the Status names a delay.

    JSON stands on a line of its own.
    """
    headers = warning_headers(error.warnings) if error.warnings else []
    delay = error.status.details.retry_after_seconds
    if delay:
        headers.append((b"retry-after", b"%d" % delay))
    if error.code == 401:
        headers.append((b"www-authenticate", b'Bearer realm="knarr"'))
    if error.code == 413:
        headers.append((b"connection", b"close"))
    media_type = negotiation.error_type(accept)
    return Response(_written(error, media_type), error.code or 500, media_type, headers)


def _written(error: StatusError, media_type: str) -> bytes:
    if media_type == negotiation.PROTOBUF:
        return wrap("v1", "Status", error.status.SerializeToString())
    text = codec.to_json(error.status)
    return to_yaml(text) if media_type == negotiation.YAML else text + b"\n"


def no_such_resource() -> StatusError:
    error = status_error("NotFound", "the server could not find the requested resource")
    error.status.details.SetInParent()
    return error


def method_not_allowed() -> StatusError:
    error = status_error("MethodNotAllowed", "the server does not allow this method on the requested resource")
    error.status.details.SetInParent()
    return error

"""Kubernetes' ``Status`` errors, the only errors that cross a component's border.

A ``StatusError`` carries the whole ``Status``: code, reason, message, details and causes; what callers tell apart has a class
of its own, named like its reason, so that it is caught rather than compared. The REST face writes it as the body, the gRPC face as
trailing metadata; the client raises it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knarr.api.meta.v1 import meta_pb2 as meta

# reason → (HTTP status, gRPC status code name)
REASONS: dict[str, tuple[int, str]] = {
    "BadRequest": (400, "INVALID_ARGUMENT"),
    "Unauthorized": (401, "UNAUTHENTICATED"),
    "Forbidden": (403, "PERMISSION_DENIED"),
    "NotFound": (404, "NOT_FOUND"),
    "MethodNotAllowed": (405, "UNIMPLEMENTED"),
    "NotAcceptable": (406, "INVALID_ARGUMENT"),
    "AlreadyExists": (409, "ALREADY_EXISTS"),
    "Conflict": (409, "ABORTED"),
    "Gone": (410, "OUT_OF_RANGE"),
    "Expired": (410, "OUT_OF_RANGE"),
    "RequestEntityTooLarge": (413, "RESOURCE_EXHAUSTED"),
    "UnsupportedMediaType": (415, "INVALID_ARGUMENT"),
    "Invalid": (422, "INVALID_ARGUMENT"),
    "TooManyRequests": (429, "RESOURCE_EXHAUSTED"),
    "InternalError": (500, "INTERNAL"),
    "ServiceUnavailable": (503, "UNAVAILABLE"),
    "Timeout": (504, "DEADLINE_EXCEEDED"),
    "ServerTimeout": (500, "DEADLINE_EXCEEDED"),
}


# So many reasons are given for one refusal: an answer is not to be many times as large as what it answers.
MAX_CAUSES = 100


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object was refused: ``reason`` as in metav1.CauseType, ``field`` a path."""

    reason: str
    message: str
    field: str


@dataclass(frozen=True, slots=True)
class Forgiven(Cause):
    """What was so before, and has not changed: its writer hears of it, and is not refused."""


class StatusError(Exception):
    """An error with a Kubernetes ``Status``; ``warnings`` are what else its receiver should hear."""

    warnings: Sequence[str] = ()

    def __init__(self, status: meta.Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def reason(self) -> str:
        return self.status.reason

    @property
    def code(self) -> int:
        return self.status.code


class BadRequest(StatusError):
    """400: the request cannot be understood."""


class Unauthorized(StatusError):
    """401: the caller is not known."""


class Forbidden(StatusError):
    """403: the caller is known and may not do this."""


class NotFound(StatusError):
    """404: there is no such object, or no such resource."""


class AlreadyExists(StatusError):
    """409: the name is taken."""


class Conflict(StatusError):
    """409: the object is no longer what the caller has seen, or a precondition failed."""


class Vanished(Conflict, NotFound):
    """409 for an object by its uid where there is none of that name: whoever passes over what is gone passes over it."""


class Expired(StatusError):
    """410: the revision or continue token is no longer held; list anew."""


class Invalid(StatusError):
    """422: the object breaks rules; ``details.causes`` names the fields."""


class TooManyRequests(StatusError):
    """429: try again, not before ``details.retry_after_seconds``."""


class InternalError(StatusError):
    """500: a fault of the server's own."""


class ServiceUnavailable(StatusError):
    """503: the server, or what it needs, is not there."""


class Timeout(StatusError):
    """504: no answer in time; whether a write happened is not known."""


class ServerTimeout(StatusError):
    """500: the server did not come to it in time; it may be asked again."""


# The server is not there or not willing now: asked again, the same may be done.
TRANSIENT = (ServiceUnavailable, TooManyRequests, Timeout, ServerTimeout)


_CLASSES: dict[str, type[StatusError]] = {
    found.__name__: found
    for found in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        AlreadyExists,
        Conflict,
        Expired,
        Invalid,
        TooManyRequests,
        InternalError,
        ServiceUnavailable,
        Timeout,
        ServerTimeout,
    )
}


# What Kubernetes says of the uid of the object that is there; of none nothing follows, which nothing else in the Status tells.
FOUND_UID = "UID in object meta: "


def error_of(status: meta.Status) -> StatusError:
    """The error that a ``Status`` stands for, of its reason's class; plain ``StatusError`` for a reason without one."""
    found = _CLASSES.get(status.reason, StatusError)
    return (Vanished if found is Conflict and status.message.endswith(FOUND_UID) else found)(status)


def status_error(
    reason: str,
    message: str,
    *,
    name: str = "",
    group: str = "",
    kind: str = "",
    uid: str = "",
    causes: Iterable[Cause] = (),
    retry_after_seconds: int = 0,
    code: int = 0,
) -> StatusError:
    """Builds any Status error. ``kind`` is the resource or kind that ``details`` names."""
    status = meta.Status(status="Failure", message=message, reason=reason, code=code or REASONS[reason][0])
    found = list(causes)
    if name or group or kind or uid or found or retry_after_seconds:
        status.details.SetInParent()
        details = status.details
        details.name, details.group, details.kind, details.uid = name, group, kind, uid
        details.retry_after_seconds = retry_after_seconds
        for cause in found:
            details.causes.add(reason=cause.reason, message=cause.message, field=cause.field)
    return error_of(status)


def _qualified(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def not_found(resource: str, name: str, group: str = "") -> StatusError:
    return status_error("NotFound", f'{_qualified(resource, group)} "{name}" not found', name=name, group=group, kind=resource)


def already_exists(resource: str, name: str, group: str = "") -> StatusError:
    return status_error("AlreadyExists", f'{_qualified(resource, group)} "{name}" already exists', name=name, group=group, kind=resource)


def conflict(resource: str, name: str, group: str = "", detail: str = "") -> StatusError:
    detail = detail or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {_qualified(resource, group)} "{name}": {detail}'
    return status_error("Conflict", message, name=name, group=group, kind=resource)


def invalid(kind: str, name: str, causes: Iterable[Cause], group: str = "") -> StatusError:
    """422 with every cause up to MAX_CAUSES; the message lists them as Kubernetes does."""
    found = list(causes)
    if len(found) > MAX_CAUSES:
        found[MAX_CAUSES:] = [Cause("FieldValueInvalid", f"{len(found) - MAX_CAUSES} more problems are not listed", "")]
    parts = [f"{cause.field}: {cause.message}" for cause in found]
    text = parts[0] if len(parts) == 1 else "[" + ", ".join(parts) + "]"
    return status_error(
        "Invalid", f'{_qualified(kind, group)} "{name}" is invalid: {text}', name=name, group=group, kind=kind, causes=found
    )


def bad_request(message: str) -> StatusError:
    return status_error("BadRequest", message)


def forbidden(resource: str, name: str, detail: str, group: str = "") -> StatusError:
    message = f'{_qualified(resource, group)} "{name}" is forbidden: {detail}'
    return status_error("Forbidden", message, name=name, group=group, kind=resource)


def expired(message: str) -> StatusError:
    return status_error("Expired", message)


def internal(message: str) -> StatusError:
    return status_error("InternalError", f"Internal error occurred: {message}", causes=[Cause("InternalError", message, "")])
